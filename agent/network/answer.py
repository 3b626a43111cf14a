"""The head of an answer, read strictly: what is not plainly HTTP is an error, and never guessed at."""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator, Mapping
from typing import IO

LONGEST_LINE = 64 * 1024
MOST_LINES = 100
MOST_INTERIM = 10
"""Answers of the kind ``100 Continue`` that may come before the real one."""

_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\x00\r\n]*)\r?\n")
_CONTINUED = re.compile(rb"[ \t]([^\x00\r\n]*)\r?\n")
_LENGTH = re.compile(r"[0-9]{1,18}")


class NothingReadError(ConnectionError):
    """The other side closed a connection before the first byte of an answer; ``reused`` if it had answered before."""

    reused = False


class Headers(Mapping[str, str]):
    """The headers of an answer by name, in any case; those of one name are joined by commas."""

    def __init__(self, fields: Mapping[str, tuple[str, str]]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._fields.values())

    def __len__(self) -> int:
        return len(self._fields)


class Answer(http.client.HTTPResponse):
    """The standard library's answer with a head of our own reading; that one's takes most of the time of a poll.

    ``length`` is what is left of the body, None where it was not announced. Bodies are read by the standard library.
    """

    fields: Headers

    def begin(self) -> None:
        """Read the head. Raises NothingReadError when not even its first byte came, HTTPException, OSError."""
        self._wait_for_first_byte()
        for _ in range(MOST_INTERIM):
            version, self.status, reason = self._read_status()  # type: ignore[attr-defined]
            self.reason = reason.strip()
            self.fields = read_headers(self.fp)
            if self.status >= 200:
                return self._frame(version)
        raise http.client.HTTPException("only interim answers came")

    def _wait_for_first_byte(self) -> None:
        try:
            first = self.fp.peek(1)
        except (ConnectionError, ssl.SSLEOFError) as error:
            raise NothingReadError(str(error)) from error
        if not first:
            raise NothingReadError("The other side closed the connection without an answer.")

    def _frame(self, version: str) -> None:
        """Find out where the body ends, and whether the connection can be used again after it."""
        if not version.startswith("HTTP/1."):
            raise http.client.UnknownProtocol(version)
        self.version = 10 if version == "HTTP/1.0" else 11
        coding = self.fields.get("transfer-encoding", "identity").lower()
        if coding not in ("chunked", "identity"):
            raise http.client.UnknownTransferEncoding(coding)
        self.chunked = coding == "chunked"
        self.chunk_left = None
        announced = self.fields.get("content-length")
        length = None if announced is None else _length(announced)
        if self.status in (204, 304) or self._method == "HEAD":  # type: ignore[attr-defined]
            self.chunked, self.length = False, 0
        else:
            self.length = None if self.chunked else length
        connection = self.fields.get("connection", "").lower()
        kept = "keep-alive" in connection if self.version == 10 else "close" not in connection
        # Who announces both a length and pieces may have been understood differently on the way to us.
        clear = self.length is not None or (self.chunked and announced is None)
        self.will_close = not (kept and clear)


def read_headers(file: IO[bytes]) -> Headers:
    """Read header lines and the empty line at their end. Raises HTTPException for anything else."""
    found: dict[str, tuple[str, str]] = {}
    key = ""
    for _ in range(MOST_LINES + 1):
        line = file.readline(LONGEST_LINE + 1)
        if line in (b"\r\n", b"\n"):
            return Headers(found)
        if len(line) > LONGEST_LINE:
            raise http.client.LineTooLong("header line")
        field = _FIELD.fullmatch(line)
        if field is not None:
            name, value = field[1].decode("ascii"), _text(field[2])
            key = name.lower()
            found[key] = (name, f"{found[key][1]}, {value}" if key in found else value)
            continue
        more = _CONTINUED.fullmatch(line)
        if more is None or not key:
            raise http.client.HTTPException("a header line is none, or the head breaks off")
        name, value = found[key]
        found[key] = (name, f"{value} {_text(more[1])}".strip())
    raise http.client.HTTPException(f"more than {MOST_LINES} header lines")


def _text(value: bytes) -> str:
    return value.strip(b" \t").decode("iso-8859-1")


def _length(announced: str) -> int:
    """Understand Content-Length, which may be there more than once but not with two meanings."""
    lengths = {part.strip() for part in announced.split(",")}
    length = lengths.pop()
    if lengths or not _LENGTH.fullmatch(length):
        raise http.client.HTTPException("Content-Length is no number")
    return int(length)
