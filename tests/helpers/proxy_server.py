"""A small HTTP proxy on loopback: tunnels (CONNECT) and plain requests, with names that only it knows.

with running_proxy({"service.test": server.port}) as proxy:
    client = HttpClient(HttpOptions(proxy=proxy.url))
    client.request("GET", "https://service.test/")
    assert proxy.asked == ["CONNECT service.test:443"]
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from wire_server import drip


class ProxyServer:
    """Leads every name to the port on loopback that ``ports`` gives for it.

    ``password`` is ``user:password`` if it asks for one; ``refuse`` a status to answer every request with. With
    ``drips`` it answers every request with the first of these, and then byte by byte with the second.
    ``asked`` holds the request lines, ``seen`` the heads.
    """

    def __init__(
        self,
        ports: Mapping[str, int],
        *,
        password: str | None = None,
        refuse: int | None = None,
        drips: tuple[bytes, bytes] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.asked: list[str] = []
        self.seen: list[bytes] = []
        self._ports = dict(ports)
        self._desired = None if password is None else b"Basic " + base64.b64encode(password.encode())
        self._refuse = refuse
        self._drips = drips
        self._tls = tls
        self._closing = False
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Close everything and wait for the threads."""
        self._closing = True
        for each in [self._listener, *self._open]:
            with suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._run(self._serve, connection)

    def _run(self, work, *arguments) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, connection: socket.socket) -> None:
        self._open.append(connection)
        with suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            self._relay(connection)
        with suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
        connection.close()

    def _relay(self, connection: socket.socket) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            more = connection.recv(65536)
            if not more:
                return
            received += more
        head = received.partition(b"\r\n\r\n")[0]
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        self.asked.append(f"{method} {target}")
        self.seen.append(head)
        if self._drips is not None:
            connection.sendall(self._drips[0])
            if self._drips[0].endswith(b"\r\n\r\n"):
                connection.recv(65536)  # what goes through the tunnel
            drip(connection, self._drips[1])
            return
        refusal = self._refusal(head)
        if refusal is not None:
            connection.sendall(f"HTTP/1.1 {refusal} Refused\r\nContent-Length: 0\r\n\r\n".encode())
            return
        authority = target if method == "CONNECT" else target.split("/")[2]
        upstream = socket.create_connection(("127.0.0.1", self._ports[authority.partition(":")[0]]))
        self._open.append(upstream)
        if method == "CONNECT":
            connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            path = "/" + "/".join(target.split("/")[3:])
            upstream.sendall(received.replace(target.encode(), path.encode(), 1))
        self._run(self._copy, upstream, connection)
        self._copy(connection, upstream)

    def _refusal(self, head: bytes) -> int | None:
        if self._refuse is not None:
            return self._refuse
        if self._desired is not None and b"Proxy-Authorization: " + self._desired not in head:
            return 407
        return None

    @staticmethod
    def _copy(source: socket.socket, destination: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                destination.sendall(data)
        with suppress(OSError):
            socket.socket.shutdown(destination, socket.SHUT_WR)


@contextmanager
def running_proxy(
    ports: Mapping[str, int],
    *,
    password: str | None = None,
    refuse: int | None = None,
    drips: tuple[bytes, bytes] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[ProxyServer]:
    """Run a proxy on a free port for the length of a block."""
    server = ProxyServer(ports, password=password, refuse=refuse, drips=drips, tls=tls)
    try:
        yield server
    finally:
        server.close()
