"""Connections that tell a stale one from a broken one, are kept, and can be ended."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import weakref
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPConnection, HTTPSConnection

from agent.network.answer import Answer, NothingReadError

PER_HOST = 16
"""Idle connections kept for each host: as many as download side by side."""


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


class WatchedConnection(HTTPConnection):
    """A connection that urllib3 makes, through proxies and with certificates; what goes over it is left to us."""

    def __init__(self, host: str, port: int | None = None, *, watch: OpenConnections, **options: Any) -> None:  # noqa: ANN401
        super().__init__(host, port, **options)
        self._watch = watch
        self._reused = False
        watch.add(self)

    def exchange(self, method: str, request: bytes, *, timeout: float) -> Answer:
        """Send a request and read the head of its answer; ``timeout`` is in seconds, between two pieces of it.

        It is sent in one piece. Raises NothingReadError where there is no answer, ClosedError, HTTPException, OSError.
        """
        sock: socket.socket = self.sock
        if self._watch.closed:
            raise ClosedError("The client was closed.")
        try:
            sock.settimeout(timeout)
            sock.sendall(request)
        except BrokenPipeError:
            pass  # It may have answered before it closed.
        except (ConnectionResetError, ssl.SSLEOFError) as error:
            raise self._nothing_read(error) from error
        answer = Answer(sock, method=method)
        try:
            answer.begin()
        except NothingReadError as error:
            answer.close()
            raise self._nothing_read(error) from error
        except BaseException:
            answer.close()
            raise
        self._reused = True
        return answer

    def _nothing_read(self, error: OSError) -> OSError:
        if self._watch.closed:
            return ClosedError("The client was closed.")
        found = NothingReadError(str(error))
        found.reused = self._reused
        return found

    def is_quiet(self) -> bool:
        """Tell whether an idle connection is as it was left: not closed, and without words that nobody asked for."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)

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


class Pool(HTTPConnectionPool):
    """Connections to one host; urllib3 knows how one is made, and the idle ones are kept here."""

    ConnectionCls = WatchedConnection

    def __init__(self, host: str, port: int | None = None, *, watch: OpenConnections, **options: Any) -> None:  # noqa: ANN401
        super().__init__(host, port, watch=watch, **options)
        self._watch = watch
        self._idle: list[WatchedConnection] = []

    def take(self) -> WatchedConnection | None:
        """Give the idle connection that was used last, None when there is none."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:  # not asked before: other threads take from here too
                return None
            if connection.is_quiet():
                return connection
            connection.close()

    def fresh(self, timeout: float, *, tunnel: bool) -> WatchedConnection:
        """Connect, within so many seconds; ``tunnel`` through the proxy or just to it.

        Raises ProxyError where the proxy itself was not reached, other errors of urllib3, OSError, ValueError.
        """
        connection: WatchedConnection = self._new_conn()  # type: ignore[assignment]
        connection.timeout = timeout
        try:
            if tunnel:
                self._prepare_proxy(connection)
            else:
                connection.connect()
        except BaseException as error:
            # urllib3 1.26 does not tell how far it came.
            reached = self.proxy is None or getattr(connection, "has_connected_to_proxy", True)
            connection.close()
            if reached or not isinstance(error, (OSError, urllib3_errors.HTTPError)):
                raise
            raise urllib3_errors.ProxyError("The proxy was not reached.", error) from error
        return connection

    def give_back(self, connection: WatchedConnection) -> None:
        """Keep a connection whose last answer was read to its end."""
        if self._watch.closed or len(self._idle) >= PER_HOST:
            connection.close()
        else:
            self._idle.append(connection)

    def forget(self) -> None:
        """Close every idle connection."""
        while self._idle:
            self._idle.pop().close()


class TlsPool(Pool, HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = WatchedTlsConnection
