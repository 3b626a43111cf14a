"""Signals that stop a command, as an exception: what was begun is ended or undone on the way out."""

from __future__ import annotations

import signal
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedBySignal(KeyboardInterrupt):
    """A signal asked the command to stop; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def raise_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP raise InterruptedBySignal, once.

    Later ones are ignored, because the first one's work (ending scripts, undoing an Install) must not be cut short;
    SIGKILL remains, and the journal covers it. A signal that was ignored from the start (nohup) stays ignored.
    """
    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    for other in _STOPPING:
        signal.signal(other, signal.SIG_IGN)
    raise InterruptedBySignal(number)
