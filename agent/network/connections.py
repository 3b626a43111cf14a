"""urllib3's connections, with limits for each answer, and an end that another thread can put to all of them."""

from __future__ import annotations

import socket
import ssl
import threading
import weakref
from collections.abc import Mapping
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from agent.network.answer import Answer, AnswerLimits, ClosedError, LimitError, NothingReadError


class OpenConnections:
    """All connections of a client, so that another thread can end what is in progress."""

    def __init__(self) -> None:
        self.closed = False
        self._lock = threading.Lock()
        self._connections: weakref.WeakSet[LimitedConnection] = weakref.WeakSet()

    def add(self, connection: LimitedConnection) -> None:
        """Remember a connection for as long as anything uses it."""
        with self._lock:
            self._connections.add(connection)

    def end(self) -> None:
        """Wake every thread that waits on one of them; its request fails, and later ones do too."""
        self.closed = True
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.shut()


class LimitedConnection(HTTPConnection):
    """A connection whose answers come within ``limits``."""

    limits: AnswerLimits

    def __init__(self, host: str, port: int | None = None, *, watch: OpenConnections, **options: Any) -> None:  # noqa: ANN401
        super().__init__(host, port, **options)
        self._watch = watch
        self._answered = False
        self._answering: socket.socket | None = None
        watch.add(self)

    def connect(self) -> None:
        """Connect, through the proxy where there is one; each step of it within ``timeout``."""
        self._answered = False
        self._answering = None
        self.limits = AnswerLimits(self.timeout or 0, error=TimeoutError)
        super().connect()
        if self._watch.closed:
            raise ClosedError("The client was closed.")

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: Any = None,  # noqa: ANN401
        headers: Mapping[str, str] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """Send a request. Raises ClosedError, LimitError, NothingReadError, OSError, ValueError."""
        if self._watch.closed:
            raise ClosedError("The client was closed.")
        if self.proxy_is_forwarding:
            host = next(value for name, value in (headers or {}).items() if name.lower() == "host")
            url = f"http://{host}{url}"
        try:
            super().request(method, url, body, headers, **options)
        except TimeoutError as error:
            raise LimitError(f"did not take a request within {self.timeout:g} s") from error
        except ssl.SSLEOFError as error:
            raise self._nothing_read(NothingReadError(str(error))) from error

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        """Read the head of an answer within ``timeout``, which then counts for its body too."""
        self.limits = AnswerLimits(self.timeout or 0)
        try:
            response = super().getresponse()
        except NothingReadError as error:
            raise self._nothing_read(error) from error
        self._answered = True
        return response

    def _nothing_read(self, error: NothingReadError) -> OSError:
        if self._watch.closed:
            return ClosedError("The client was closed.")
        error.reused = self._answered
        return error

    def response_class(self, sock: socket.socket, **options: Any) -> Answer:  # type: ignore[override]  # noqa: ANN401
        """Return the answer that is about to be read, be it the proxy's or the service's."""
        self._answering = sock
        return Answer(sock, limits=self.limits, **options)

    def shut(self) -> None:
        """Shut the socket down from another thread; a thread that waits on it wakes up."""
        if hasattr(self, "limits"):
            self.limits.closed = True
        sock = self.sock or self._answering  # the former is empty where the answer is the last one
        plain = getattr(sock, "socket", sock)  # TLS within TLS wraps the socket in an object of its own
        if isinstance(plain, socket.socket):
            try:
                # Not the TLS socket's own method: that one takes the TLS state away from the thread that uses it.
                socket.socket.shutdown(plain, socket.SHUT_RDWR)
            except OSError:
                return


class LimitedTlsConnection(LimitedConnection, HTTPSConnection):
    """The same over TLS."""


class Pool(HTTPConnectionPool):
    """Connections to one host."""

    ConnectionCls = LimitedConnection


class TlsPool(HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = LimitedTlsConnection
