"""An answer within limits: its head is checked before anything is understood, and each byte is awaited only so long."""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import time
from typing import IO, Any, NamedTuple

LARGEST_HEAD = 256 * 1024
LONGEST_LINE = 64 * 1024
MOST_LINES = 99
"""Header lines: the standard library takes a hundred with the empty line."""

MOST_INTERIM = 10
"""Answers of the kind ``100 Continue`` that may come before the real one."""

MOST_WITHOUT_CONTENT = 32 * 1024 * 1024
"""Bytes between two pieces of a body, the second one included: many times what chunks of a single byte take."""

_STATUS = re.compile(rb"HTTP/1\.[0-9] ([1-9])[0-9]{2}(?: [^\x00\r\n]*)?\r?\n")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\x00\r\n]*)\r?\n")
_CONTINUED = re.compile(rb"[ \t]([^\x00\r\n]*)\r?\n")
_LENGTH = re.compile(r"[0-9]{1,18}")


class NothingReadError(ConnectionError):
    """The peer closed a connection before the first byte of an answer; ``reused`` if it had answered before."""

    reused = False


class ClosedError(ConnectionError):
    """The client was closed while a request was in progress."""


class LimitError(TimeoutError):
    """The peer was too slow; the text continues a sentence that begins with its name."""


class MinimumRate(NamedTuple):
    """How many bytes a second a download must bring, on average over so many ``seconds`` of waiting."""

    rate: int = 1024
    seconds: float = 60.0


class AnswerLimits:
    """How long to wait for an answer: so many seconds in all or, after ``stream``, for each piece of it."""

    def __init__(self, seconds: float, *, error: type[TimeoutError] = LimitError) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._error = error
        self._rate: MinimumRate | None = None
        self._received, self._waited = 0, 0.0
        self._without_content = 0
        self.closed = False

    def stream(self, rate: MinimumRate) -> None:
        """Allow any time in all from now on, provided that pieces keep coming at this rate."""
        self._rate = rate

    def left(self) -> float:
        """Return how long to wait for the next piece. Raises TimeoutError."""
        if self._rate is not None:
            return self._seconds
        left = self._until - time.monotonic()
        if left <= 0:
            raise self.overdue()
        return left

    def overdue(self) -> TimeoutError:
        """Return the error of a peer that let the time go by."""
        what = "no whole answer within" if self._rate is None else "nothing for"
        return self._error(f"sent {what} {self._seconds:g} s")

    def received(self, count: int, waited: float) -> None:
        """Count what came after waiting for it. Raises ClosedError, TimeoutError."""
        if self.closed and not count:
            raise ClosedError("The client was closed.")
        self._without_content += count
        if self._without_content > MOST_WITHOUT_CONTENT:
            raise self._error(f"sent {self._without_content} bytes without any content")
        if self._rate is None:
            return
        self._received += count
        self._waited += waited
        if self._waited >= self._rate.seconds:
            if self._received < self._rate.rate * self._waited:
                raise self._error(f"sent only {self._received} bytes in {self._waited:.1f} s")
            self._received, self._waited = 0, 0.0

    def content(self) -> None:
        """Note that a piece of the body was read."""
        self._without_content = 0


class Answer(http.client.HTTPResponse):
    """The standard library's answer; refuses a head that two readers could understand differently."""

    def __init__(self, sock: socket.socket, *, limits: AnswerLimits, **options: Any) -> None:  # noqa: ANN401
        super().__init__(sock, **options)
        self.fp: io.BufferedReader = io.BufferedReader(_LimitedReader(self.fp.detach(), sock, limits))

    def begin(self) -> None:
        """Read the head. Raises NothingReadError when not even its first byte came, HTTPException, OSError."""
        wire = self.fp
        _wait_for_first_byte(wire)
        self.fp = io.BufferedReader(io.BytesIO(read_head(wire)))
        try:
            super().begin()
        finally:
            self.fp = wire
        self._check_framing()

    def _check_framing(self) -> None:
        """Refuse a body whose end is not certain."""
        codings = [coding.lower() for coding in self.headers.get_all("Transfer-Encoding", [])]
        if codings not in ([], ["chunked"], ["identity"]):
            raise http.client.UnknownTransferEncoding(", ".join(codings))
        announced = self.headers.get_all("Content-Length", [])
        lengths = {length.strip() for value in announced for length in value.split(",")}
        if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
            raise http.client.HTTPException("Content-Length is not one number")
        if self.chunked and self.length == 0:
            self.chunked = False  # an answer without a body, such as to HEAD
        elif self.chunked and lengths:
            self.will_close = True  # a proxy may have seen another end
        elif lengths and self.length is None:
            self.length = int(lengths.pop())


class _LimitedReader(io.RawIOBase):
    """The bytes of a socket, each piece awaited within limits."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, limits: AnswerLimits) -> None:
        self._raw = raw
        self._sock = sock
        self._limits = limits

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - any writable buffer
        self._sock.settimeout(self._limits.left())
        began = time.monotonic()
        try:
            count: int | None = self._raw.readinto(buffer)
        except TimeoutError as error:
            raise self._limits.overdue() from error
        self._limits.received(count or 0, time.monotonic() - began)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _wait_for_first_byte(wire: io.BufferedReader) -> None:
    try:
        first = wire.peek(1)
    except ClosedError:
        raise
    except (ConnectionError, ssl.SSLEOFError) as error:
        raise NothingReadError(str(error)) from error
    if not first:
        raise NothingReadError("The peer closed the connection without an answer.")


def read_head(wire: IO[bytes]) -> bytes:
    """Read the status line, the header lines and the empty line, each in its plain form.

    Skips answers such as ``100 Continue``. Raises HTTPException for anything that is not plainly HTTP.
    """
    for _ in range(MOST_INTERIM + 1):
        status = wire.readline(LONGEST_LINE + 1)
        found = _STATUS.fullmatch(status)
        if found is None:
            raise http.client.BadStatusLine(repr(status[:80]))
        fields = _read_fields(wire)
        if found[1] != b"1":
            return b"".join([status, *fields, b"\r\n"])
    raise http.client.HTTPException("only interim answers came")


def _read_fields(wire: IO[bytes]) -> list[bytes]:
    fields: list[bytes] = []
    size = 0
    for _ in range(MOST_LINES + 1):
        line = wire.readline(LONGEST_LINE + 1)
        size += len(line)
        if line in (b"\r\n", b"\n"):
            return fields
        if len(line) > LONGEST_LINE or size > LARGEST_HEAD:
            raise http.client.LineTooLong("head")
        if field := _FIELD.fullmatch(line):
            fields.append(b"%s: %s\r\n" % (field[1], field[2].strip(b" \t")))
        elif fields and (more := _CONTINUED.fullmatch(line)):
            fields[-1] = b"%s %s\r\n" % (fields[-1][:-2], more[1].strip(b" \t"))
        else:
            raise http.client.HTTPException("a line is not a header line, or the head breaks off")
    raise http.client.HTTPException(f"more than {MOST_LINES} header lines")
