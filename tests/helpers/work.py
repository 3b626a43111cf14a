"""How much a call does, counted and not timed: the same on every machine, however busy it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

BYTES_A_STEP = 64
"""What a method of bytes looks at costs, too; about so many bytes are as much as a line of Python."""

_LOOKS_AT_A_PART = frozenset({"find", "rfind", "startswith", "endswith"})

_WRITES = frozenset({"open", "mkdir", "symlink", "link", "unlink", "write", "pwrite", "sendfile", "copy_file_range"})


class TooMuchWorkError(BaseException):
    """A call did more than it may; nothing that it catches."""


class Work:
    """What was done within it: ``steps`` are lines of Python and calls of the system and its libraries.

    ``writes`` are those calls that make or write files. Raises TooMuchWorkError beyond ``most`` steps. Work in other
    threads and processes is not seen.
    """

    def __init__(self, most: int) -> None:
        self.steps = 0
        self.writes = 0
        self._most = most

    def __enter__(self) -> Work:
        self._before = sys.gettrace(), sys.getprofile()
        sys.setprofile(self._called)
        sys.settrace(self._line)
        return self

    def __exit__(self, *_: object) -> None:
        trace, profile = self._before
        sys.settrace(trace)
        sys.setprofile(profile)

    def _line(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
        if event == "line":
            self._count(1)
        return self._line

    def _called(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call":
            self.writes += called.__name__ in _WRITES
            of = None if called.__name__ in _LOOKS_AT_A_PART else getattr(called, "__self__", None)
            self._count(1 + (len(of) // BYTES_A_STEP if isinstance(of, (bytes, bytearray)) else 0))

    def _count(self, steps: int) -> None:
        self.steps += steps
        if self.steps > self._most:
            sys.settrace(None)
            sys.setprofile(None)
            raise TooMuchWorkError(f"more than {self._most} steps, with {self.writes} writes")


def work_of(call: Callable[[], Any], *, most: int, refuses: type[Exception] | tuple[()] = ()) -> Work:
    """Run a call, which may refuse by an exception, and return what it did."""
    work = Work(most)
    with suppress(refuses), work:
        call()
    return work
