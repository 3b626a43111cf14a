"""The tail of an event's output that goes into the diagnostics of a failed command."""

from __future__ import annotations

from collections import deque

LIMIT = 2048
"""Bytes of UTF-8; the official agents keep the same amount."""

_CUT = "..."
_SMALLEST_REST = 64  # less of a line than this tells a reader nothing


class _Entry:
    __slots__ = ("cut", "data", "prefix")

    def __init__(self, prefix: str, data: bytes, cut: bool = False) -> None:
        self.prefix = prefix
        self.data = data
        self.cut = cut


class DiagnosticsTail:
    """Keeps the last lines of an event that fit into ``LIMIT`` bytes, and the end of a line that is longer than that.

    Memory stays a few times ``LIMIT``, whatever arrives. It is an output sink like those handed to ``run_event``. The
    entries have the official form, without times: ``LifecycleEvent - E``, ``Script - loc``, ``[stdout]line``.
    """

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque()
        self._size = 0
        self._unfinished: dict[str, _Entry] = {}

    def header(self, text: str) -> None:
        """Add a header as a line of its own."""
        self._unfinished.clear()
        self._append(_Entry("", text.encode("utf-8", "replace") + b"\n"))

    def output(self, stream: str, data: bytes) -> None:
        """Add a line or a further piece of one; ``stream`` is ``stdout`` or ``stderr``."""
        earlier = self._unfinished.pop(stream, None)
        entry = _Entry(f"[{stream}]", data)
        if earlier is not None:
            self._withdraw(earlier)
            entry = _Entry(earlier.prefix, earlier.data + data, earlier.cut)
        if len(entry.data) > LIMIT:
            entry = _Entry(entry.prefix, entry.data[-LIMIT:], cut=True)
        if not data.endswith(b"\n"):
            self._unfinished[stream] = entry
        self._append(entry)

    def text(self) -> str:
        """The tail as text that is valid UTF-8 of at most ``LIMIT`` bytes; what was not UTF-8 is replaced by U+FFFD."""
        room = LIMIT
        parts: list[str] = []
        for entry in reversed(self._entries):
            part = entry.prefix + entry.data.decode("utf-8", "replace")
            size = len(part.encode())
            if size > room or entry.cut:
                if entry.cut or size > LIMIT:
                    parts.append(_end_of(entry, room))
                break
            parts.append(part)
            room -= size
        return "".join(reversed(parts))

    def _append(self, entry: _Entry) -> None:
        self._entries.append(entry)
        self._size += len(entry.data)
        while self._size - len(self._entries[0].data) > LIMIT:
            self._size -= len(self._entries.popleft().data)

    def _withdraw(self, entry: _Entry) -> None:
        for index, candidate in enumerate(self._entries):
            if candidate is entry:
                del self._entries[index]
                self._size -= len(entry.data)
                return


def _end_of(entry: _Entry, room: int) -> str:
    start = entry.prefix + _CUT
    room -= len(start)
    if room < _SMALLEST_REST:
        return ""
    encoded = entry.data.decode("utf-8", "replace").encode()[-room:]
    return start + encoded.decode("utf-8", "ignore")
