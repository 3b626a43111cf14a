"""Answers every request on the loopback address with its process id; the port it got is written to a file."""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"served by process {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(run_directory: str) -> None:
    server = HTTPServer(("127.0.0.1", 0), Answer)
    port_file = os.path.join(run_directory, "port")
    with open(port_file + ".new", "w") as file:
        file.write(str(server.server_port))
    os.rename(port_file + ".new", port_file)  # so that no reader ever finds half a number
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
