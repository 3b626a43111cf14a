"""A request's body, which stays on the wire until the application asks for it."""

from __future__ import annotations

import hashlib
import hmac
import tempfile
from collections.abc import Callable
from io import BufferedIOBase
from types import TracebackType
from typing import IO, NoReturn

from agent.sandbox.errors import RefusedError
from agent.sandbox.wire.framing import ChunkedInput

IN_MEMORY = 8 << 20
"""Bytes of a body that are kept in memory; a larger one goes through a temporary file."""

_CHUNK = 1 << 18


class Body:
    """The body of one request; ``proceed`` tells a client that waits for it (100-continue) to send the body."""

    def __init__(self, source: BufferedIOBase, length: int | None, proceed: Callable[[], None] | None = None) -> None:
        """Take the body from a connection; one without a length comes in chunks."""
        self._is_chunked = length is None
        self._source: BufferedIOBase | ChunkedInput = ChunkedInput(source) if length is None else source
        self._left = length or 0
        self._proceed = proceed
        self._expected = ""
        self._file: IO[bytes] | None = None
        self.size = 0

    def __enter__(self) -> Body:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def expect(self, digest: str) -> None:
        """Refuse the body if its SHA-256, in hexadecimal, turns out to be another one."""
        self._expected = digest

    def take(self, limit: int | None = None) -> IO[bytes]:
        """Return the body as a file at its start. Raises RefusedError for more than ``limit`` bytes."""
        if self._file is None:
            if limit is not None and self._left > limit:
                _refuse(limit)
            self._file = self._spool(limit)
        self._file.seek(0)
        return self._file

    @property
    def blocks(self) -> bool:
        """Tell whether an unread rest makes the connection useless for another request."""
        if self._file is not None:
            return False
        waits = self._proceed is not None and self._left > 0
        return self._is_chunked or waits or self._left > IN_MEMORY

    def discard(self) -> None:
        """Read an unused body, up to a limit, so that the client gets to read its answer."""
        if self._file is None and self._proceed is None:
            budget = IN_MEMORY
            while budget > 0 and (chunk := self._read()):
                budget -= len(chunk)

    def _spool(self, limit: int | None) -> IO[bytes]:
        if self._proceed is not None and (self._is_chunked or self._left):
            self._proceed()
        found = hashlib.sha256()
        file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  # closed with the body
        try:
            while chunk := self._read():
                self.size += len(chunk)
                if limit is not None and self.size > limit:
                    _refuse(limit)
                if self._expected:
                    found.update(chunk)
                file.write(chunk)
            if self._left:
                raise ConnectionAbortedError("the body broke off")
            if self._expected and not hmac.compare_digest(found.hexdigest(), self._expected):
                raise RefusedError("InvalidSignatureException", "The body is not the one that was signed.")
        except BaseException:
            file.close()
            raise
        return file

    def _read(self) -> bytes:
        try:
            chunk = self._source.read(_CHUNK if self._is_chunked else min(_CHUNK, self._left))
        except OSError as error:
            raise ConnectionAbortedError("the body broke off") from error
        self._left -= 0 if self._is_chunked else len(chunk)
        return chunk


def _refuse(limit: int) -> NoReturn:
    raise RefusedError("RequestEntityTooLargeException", f"The body has more than {limit} bytes.", status=413)
