"""Signals only set flags and wake the loop; what they ask for is done where the loop can see it."""

from __future__ import annotations

import os
import signal
from types import FrameType


class Signals:
    """Hears SIGTERM, SIGINT and SIGHUP; ``descriptor`` becomes readable when one has come, or ``wake`` was called."""

    def __init__(self) -> None:
        self.descriptor, self._ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.stop = ""
        """The name of the signal that asks for the end, empty as long as none does."""
        self._reload = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stopped)
        signal.signal(signal.SIGHUP, self._hung_up)

    def wake(self) -> None:
        """Have the configuration looked at again, as by SIGHUP; may be called from any thread."""
        self._reload = True
        self._write()

    def take_reload(self) -> bool:
        """Whether the configuration is to be read again; asks only once."""
        desired, self._reload = self._reload, False
        return desired

    def drain(self) -> None:
        """Empty the pipe."""
        try:
            os.read(self.descriptor, 4096)
        except BlockingIOError:
            return

    def _write(self) -> None:
        try:
            os.write(self._ring, b"!")
        except BlockingIOError:
            return  # the loop has plenty to wake up for

    def _stopped(self, number: int, frame: FrameType | None) -> None:
        self.stop = signal.Signals(number).name
        self._write()

    def _hung_up(self, number: int, frame: FrameType | None) -> None:
        self.wake()
