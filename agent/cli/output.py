"""Writing to the standard streams, so that a reader who goes away never stops a deployment half-way."""

from __future__ import annotations

import os


class Writer:
    """Writes text and bytes to a descriptor at once, unbuffered.

    Paths that are not UTF-8 come out as the bytes that they are. When the other side is closed or full, the
    rest is dropped in silence: what is being done matters more than who watches.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether the reader has gone away."""
        return self._closed

    def line(self, text: str) -> None:
        """Write a text and a line end."""
        self.data(text.encode("utf-8", "surrogateescape") + b"\n")

    def data(self, data: bytes) -> None:
        """Write bytes as they are."""
        rest = memoryview(data)
        while rest and not self._closed:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                _wait_until_writable(self._descriptor)
            except OSError:
                self._closed = True


def printable(text: str) -> str:
    """The text without what could steer a terminal: names come from bundles, and nobody knows who made those.

    Line ends stay, and so do bytes that are not UTF-8.
    """
    return "".join(
        character if character.isprintable() or character == "\n" or "\udc80" <= character <= "\udcff" else "?"
        for character in text
    )


def _wait_until_writable(descriptor: int) -> None:
    # Somebody else has made our terminal or pipe non-blocking; it is shared, so it is not for us to change back.
    import select

    select.select([], [descriptor], [], 1.0)
