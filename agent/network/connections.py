"""Connections that send a small request in one piece, tell a stale one from a broken one, and can be ended."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from urllib3.response import HTTPResponse

ONE_PIECE = 64 * 1024
"""Bytes of a request that are gathered before they are written."""


class NothingReadError(ConnectionError):
    """The other side closed a connection before the first byte of an answer; ``reused`` if it had answered before."""

    reused = False


class ClosedError(ConnectionError):
    """The client was closed while a request was under way."""


class OpenConnections:
    """All connections of a client, so that another thread can end what is under way."""

    def __init__(self) -> None:
        self.closed = False
        self._lock = threading.Lock()
        self._connections: weakref.WeakSet[WatchedConnection] = weakref.WeakSet()

    def add(self, connection: WatchedConnection) -> None:
        """Remember a connection for as long as somebody uses it."""
        with self._lock:
            self._connections.add(connection)

    def end(self) -> None:
        """Wake every thread that waits on one of them; its request fails, and later ones do too."""
        self.closed = True
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.shut()


class _Response(http.client.HTTPResponse):
    def begin(self) -> None:
        """Read the head; say so when not even its first byte came."""
        if not self.fp.closed:
            try:
                first = self.fp.peek(1)
            except (ConnectionError, ssl.SSLEOFError) as error:
                raise NothingReadError(str(error)) from error
            if not first:
                raise NothingReadError("The other side closed the connection without an answer.")
        super().begin()


class WatchedConnection(HTTPConnection):
    """A connection whose request leaves in one write where it is small."""

    response_class = _Response

    def __init__(self, host: str, port: int | None = None, *, watch: OpenConnections, **options: Any) -> None:  # noqa: ANN401
        super().__init__(host, port, **options)
        self._watch = watch
        self._answers = 0
        self._held: bytearray | None = None
        watch.add(self)

    def connect(self) -> None:
        """Connect, directly or through a tunnel."""
        self._answers = 0
        super().connect()

    def request(self, method: str, url: str, **options: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Send a request; head and body together, because two small writes may wait 40 ms for each other."""
        with self._in_one_piece():
            super().request(method, url, **options)

    @contextmanager
    def _in_one_piece(self) -> Iterator[None]:
        self._held = bytearray()
        try:
            yield
            held, self._held = self._held, None
            if held:
                self._send_now(bytes(held))
        finally:
            self._held = None

    def send(self, data: object) -> None:
        """Gather what belongs to a request that is being written, or write it."""
        if self._held is None:
            return super().send(data)  # type: ignore[arg-type]
        if not isinstance(data, bytes) or len(self._held) + len(data) > ONE_PIECE:
            held, self._held = self._held, None
            self._send_now(bytes(held))
            return super().send(data)  # type: ignore[arg-type]
        self._held += data
        return None

    def _send_now(self, data: bytes) -> None:
        if self.sock is None:
            self.connect()
        if self._watch.closed:
            raise ClosedError("The client was closed.")
        try:
            super().send(data)
        except (ConnectionResetError, ssl.SSLEOFError) as error:
            raise self._nothing_read(error) from error

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        """Read the head of the answer. Raises NothingReadError where there is none."""
        try:
            response = super().getresponse()
        except NothingReadError as error:
            raise self._nothing_read(error) from error
        self._answers += 1
        return response

    def _nothing_read(self, error: OSError) -> OSError:
        if self._watch.closed:
            return ClosedError("The client was closed.")
        found = NothingReadError(str(error))
        found.reused = self._answers > 0
        return found

    def shut(self) -> None:
        """Shut the socket down from another thread; who waits on it wakes up."""
        sock = getattr(self, "sock", None)
        plain = getattr(sock, "socket", sock)  # TLS within TLS wraps the socket in an object of its own
        if isinstance(plain, socket.socket):
            try:
                # Not the TLS socket's own method: that one takes the TLS state away from the thread that uses it.
                socket.socket.shutdown(plain, socket.SHUT_RDWR)
            except OSError:
                return


class WatchedTlsConnection(WatchedConnection, HTTPSConnection):
    """The same over TLS."""


class HttpPool(HTTPConnectionPool):
    """Connections to one host in the clear, or to a proxy."""

    ConnectionCls = WatchedConnection  # type: ignore[assignment]


class HttpsPool(HTTPSConnectionPool):
    """Connections to one host over TLS."""

    ConnectionCls = WatchedTlsConnection  # type: ignore[assignment]
