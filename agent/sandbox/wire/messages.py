"""A request as the sandbox looks at it, and the answer to it."""

from __future__ import annotations

import hashlib
import select
import socket
from collections.abc import Mapping
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from agent.sandbox.errors import RefusedError

LARGEST_BODY = 4 << 20
"""Bytes of a JSON request; the real service takes less."""


class Request:
    """One HTTP request; header names are lower case, ``target`` is the raw path with its query."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.target: str = environ.get("RAW_URI") or environ["PATH_INFO"]
        self.headers = _headers(environ)
        self._stream: IO[bytes] = environ["wsgi.input"]

    @property
    def path(self) -> str:
        """Give the path without its query, as it was sent."""
        return urlsplit(self.target).path

    @property
    def is_connected(self) -> bool:
        """Tell whether the client still listens."""
        connection: socket.socket | None = self.environ.get("werkzeug.socket")
        if connection is None:
            return True
        # Not by MSG_DONTWAIT: a socket with a time limit would wait all the same.
        readable = select.poll()
        readable.register(connection, select.POLLIN)
        try:
            return not readable.poll(0) or connection.recv(1, socket.MSG_PEEK) != b""
        except OSError:
            return False

    def body(self) -> bytes:
        """Read the whole body, which is small for all that the sandbox answers itself."""
        self._stream.seek(0)
        data = self._stream.read(LARGEST_BODY + 1)
        self._stream.seek(0)
        if len(data) > LARGEST_BODY:
            raise RefusedError("RequestEntityTooLargeException", "The request is too large.", status=413)
        return data

    def digest(self) -> str:
        """Give the SHA-256 of the body, of whatever size, in hexadecimal."""
        self._stream.seek(0)
        found = hashlib.sha256()
        while chunk := self._stream.read(1 << 20):
            found.update(chunk)
        self._stream.seek(0)
        return found.hexdigest()


class Answer(NamedTuple):
    """What goes back: a status, a body and its content type."""

    status: int
    body: bytes
    content_type: str = "application/x-amz-json-1.1"
    headers: tuple[tuple[str, str], ...] = ()


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    found = {
        name[5:].replace("_", "-").lower(): str(value) for name, value in environ.items() if name.startswith("HTTP_")
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            found[name.replace("_", "-").lower()] = str(environ[name])
    return found
