"""A request as the sandbox looks at it, and the answer to it."""

from __future__ import annotations

import hashlib
import select
import socket
from collections.abc import Mapping
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from agent.sandbox.wire.body import IN_MEMORY, Body

LARGEST_BODY = 4 << 20
"""Bytes of a JSON request; the real service takes less."""


class Request:
    """One HTTP request; header names are lower case, ``target`` is the raw path with its query."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.target: str = environ.get("RAW_URI") or environ["PATH_INFO"]
        self.headers = _headers(environ)
        self._body: Body = environ["wsgi.input"]

    @property
    def path(self) -> str:
        """Return the path without its query, as it was sent."""
        return urlsplit(self.target).path

    @property
    def is_connected(self) -> bool:
        """Tell whether the client still listens."""
        connection: socket.socket | None = self.environ.get("werkzeug.socket")
        if connection is None:
            return True
        closed = select.poll()
        closed.register(connection, select.POLLRDHUP)
        return not closed.poll(0)

    def take(self) -> IO[bytes]:
        """Return the whole body of a caller who was let in, as a file."""
        return self._body.take()

    @property
    def size(self) -> int:
        """Return the size in bytes of a body that was taken."""
        return self._body.size

    def body(self) -> bytes:
        """Read the whole body, which is small for all that the sandbox answers itself."""
        return self._body.take(LARGEST_BODY).read()

    def expect(self, digest: str) -> None:
        """Refuse the body, when it is read, if this is not its SHA-256."""
        self._body.expect(digest)

    def digest(self) -> str:
        """Return the SHA-256 of the body in hexadecimal; RefusedError for one that does not fit into memory."""
        return hashlib.file_digest(self._body.take(IN_MEMORY), "sha256").hexdigest()  # type: ignore[arg-type]


class SandboxAnswer(NamedTuple):
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
