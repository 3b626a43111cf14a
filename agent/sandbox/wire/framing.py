"""Where the body of a request ends: after its length, or after its last chunk (RFC 9112, sections 6 and 7)."""

from __future__ import annotations

import re
from email.message import Message
from io import BufferedIOBase

_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;.*)?\r?\n")
_LONGEST_LINE = 4096
_MOST_TRAILERS = 64


def framing_fault(headers: Message) -> str:
    """Return why the end of a request's body is uncertain, or nothing."""
    lengths, codings = headers.get_all("Content-Length", []), headers.get_all("Transfer-Encoding", [])
    if codings and (lengths or [coding.strip().lower() for coding in codings] != ["chunked"]):
        return "Transfer-Encoding is chunked, without a Content-Length beside it"
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(length.strip()) for length in lengths):
        return "Content-Length is one number of bytes"
    return ""


class ChunkedInput:
    """The content of a chunked body."""

    def __init__(self, source: BufferedIOBase) -> None:
        self._source = source
        self._left = 0
        self._is_over = False

    def read(self, size: int) -> bytes:
        """Return the next bytes, ``size`` at most, and nothing at the end. Raises OSError where the body breaks off."""
        if not self._left and not self._is_over:
            self._left = self._next_chunk()
        if self._is_over:
            return b""
        data = self._source.read(min(size, self._left))
        if not data:
            raise OSError("the body ends within a chunk")
        self._left -= len(data)
        if not self._left and self._line() not in (b"\r\n", b"\n"):
            raise OSError("a chunk is longer than its size")
        return data

    def _next_chunk(self) -> int:
        found = _CHUNK_SIZE.fullmatch(self._line())
        if found is None:
            raise OSError("a chunk does not begin with its size")
        size = int(found[1], 16)
        self._is_over = size == 0
        if self._is_over and not any(self._line() in (b"\r\n", b"\n") for _ in range(_MOST_TRAILERS + 1)):
            raise OSError("the body has too many trailers")
        return size

    def _line(self) -> bytes:
        line = self._source.readline(_LONGEST_LINE)
        if not line:
            raise OSError("the body ends before its last chunk")
        return line
