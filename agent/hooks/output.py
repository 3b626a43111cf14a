"""What scripts write: cut into lines, passed on to the sinks, with memory that does not depend on the amount."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from agent.errors import escaped

LONGEST_PIECE = 64 * 1024
"""Bytes of a line that are passed on at once; a longer line arrives in pieces of this size."""

_log = logging.getLogger(__name__)


class OutputSink(Protocol):
    """Somewhere that the output of scripts goes while it is written: a log file, a terminal, the diagnostics."""

    def header(self, text: str) -> None:
        """Take ``LifecycleEvent - E`` or ``Script - location``, without a line end."""

    def output(self, stream: str, data: bytes) -> None:
        r"""Take what a script wrote, as raw bytes; ``stream`` is ``stdout`` or ``stderr``.

        ``data`` is one line with its ``\n``, never more than one. Without ``\n`` it is a piece of a line longer than
        ``LONGEST_PIECE``, of which the next data of the same stream is the continuation, or the script's last words.
        """


class Sinks:
    """Several sinks as one; what one of them cannot write is dropped, because a full disk must not fail a script."""

    def __init__(self, sinks: Sequence[OutputSink]) -> None:
        self._sinks = list(sinks)
        self._failing: set[int] = set()

    def header(self, text: str) -> None:
        """Pass a header on to every sink, as one line."""
        text = escaped(text)
        self._pass_on(lambda sink: sink.header(text))

    def output(self, stream: str, data: bytes) -> None:
        """Pass a line or a piece of one on to every sink."""
        self._pass_on(lambda sink: sink.output(stream, data))

    def _pass_on(self, write: Callable[[OutputSink], None]) -> None:
        for sink in self._sinks:
            try:
                write(sink)
                self._failing.discard(id(sink))
            except OSError as error:
                if id(sink) not in self._failing:
                    _log.warning("%s takes no script output for now: %s", type(sink).__name__, error)
                self._failing.add(id(sink))


class LineSplitter:
    r"""Cuts a stream of bytes at ``\n``; holds back at most ``LONGEST_PIECE`` bytes of a line that has no end yet."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that are complete with this data, and the pieces of a line that grows too long."""
        end = data.rfind(b"\n") + 1
        if end:
            lines = (bytes(self._rest) + data[:end]).split(b"\n")
            self._rest = bytearray(data[end:])
            lines.pop()
            for line in lines:
                yield from _in_pieces(line + b"\n")
        else:
            self._rest += data
        while len(self._rest) > LONGEST_PIECE:
            yield bytes(self._rest[:LONGEST_PIECE])
            del self._rest[:LONGEST_PIECE]

    def finish(self) -> bytes:
        """Give up what is held back: a last line without an end, or nothing."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest


def _in_pieces(line: bytes) -> Iterator[bytes]:
    if len(line) <= LONGEST_PIECE:
        yield line
        return
    for start in range(0, len(line), LONGEST_PIECE):
        yield line[start : start + LONGEST_PIECE]
