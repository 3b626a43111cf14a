"""The sandbox's HTTP server: a thread for each connection, connections that stay open, no waiting for full packets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import structlog
from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import ThreadedWSGIServer

from agent.sandbox.wire.body import Body
from agent.sandbox.wire.faults import HangUpError
from agent.sandbox.wire.framing import framing_fault

_HANDSHAKE = 30.0  # seconds for a client to begin TLS

_log = structlog.get_logger()


class RequestHandler(MotoRequestHandler):
    """moto's handler, except that a connection outlives its request.

    werkzeug closes every connection because an application may leave a part of the body unread. Here the application
    reads the body whole or not at all, and what it did not read is discarded if that is little.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 600  # seconds of a connection on which nothing happens
    server: Server

    def run_wsgi(self) -> None:
        """Read one request, let the application answer it, and write the answer."""
        if fault := framing_fault(self.headers):
            self.send_error(400, explain=fault)
            return
        try:
            self.environ = environ = self.make_environ()
        except ValueError:
            self.send_error(400, explain="The target of the request is not a URL")
            return
        length = None if "Transfer-Encoding" in self.headers else int(self.headers.get("Content-Length", "0"))
        waits = self.headers.get("Expect", "").lower().strip() == "100-continue"
        with Body(self.rfile, length, self._proceed if waits else None) as body:
            environ["wsgi.input"] = body
            try:
                with self.server.answering():
                    self._respond(environ, body)
                body.discard()
            except HangUpError:
                self.close_connection = True

    def handle_expect_100(self) -> bool:
        """Let the client wait until the application wants its body."""
        return True

    def _proceed(self) -> None:
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _respond(self, environ: dict[str, Any], body: Body) -> None:
        head: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[..., Any]:
            head[:] = [status, headers]
            return lambda data: None

        answer = self.server.app(environ, start_response)
        try:
            data = b"".join(answer)
        finally:
            close = getattr(answer, "close", None)
            if close is not None:
                close()
        status, headers = head
        self.close_connection = self.close_connection or body.blocks
        self._send(status, headers, data)

    def _send(self, status: str, headers: list[tuple[str, str]], data: bytes) -> None:
        names = {name.lower() for name, _ in headers}
        kept = [(name, value) for name, value in headers if name.lower() not in ("connection", "transfer-encoding")]
        if "content-length" not in names and status[:3] not in ("204", "304"):
            kept.append(("Content-Length", str(len(data))))
        lines = [f"HTTP/1.1 {status}", f"Date: {self.date_time_string()}"]
        if self.close_connection:
            kept.append(("Connection", "close"))
        lines += [f"{name}: {value}" for name, value in kept]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        # In one piece, so that it leaves in one packet if it fits.
        self.wfile.write(head if self.command == "HEAD" else head + data)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep quiet: the sandbox logs what it answers itself."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named so by http.server
        """Keep quiet about connections that break."""


class Server(ThreadedWSGIServer):
    """Listens at once; ``serve_forever`` answers until ``shutdown``."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, listening: socket.socket, application: Callable[..., Any], *, tls: ssl.SSLContext | None = None
    ) -> None:
        host, port = listening.getsockname()[:2]
        super().__init__(host, port, application, handler=RequestHandler, fd=listening.fileno())
        listening.close()  # the server has a duplicate
        self.ssl_context = tls
        self._quiet = threading.Condition()
        self._answering = 0

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # as socketserver has it
        """Serve one connection; with TLS the handshake is made here, where a slow client keeps no other waiting."""
        if self.ssl_context is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(_HANDSHAKE)
        try:
            protected = self.ssl_context.wrap_socket(request, server_side=True)
        except OSError as error:
            _log.debug("no TLS", client=client_address[0], error=str(error))
            return
        with protected:
            super().finish_request(protected, client_address)

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request while it is answered."""
        with self._quiet:
            self._answering += 1
        try:
            yield
        finally:
            with self._quiet:
                self._answering -= 1
                self._quiet.notify_all()

    def wait_until_quiet(self, seconds: float) -> None:
        """Wait until no request is being answered, or the time is over."""
        with self._quiet:
            self._quiet.wait_for(lambda: not self._answering, seconds)
