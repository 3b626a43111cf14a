"""The pipes between agent and script supervisor, and the words that go over them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from typing import NamedTuple

REPORT_STARTED = "started"  # pid, start time
REPORT_ENDED = "ended"  # wait status, and if it never became the script: step, error number
REPORT_TIMED_OUT = "timed-out"  # and everything has been ended
REPORT_STOPPED = "stopped"  # on request, and everything has been ended
REPORT_BROKEN = "broken"  # what went wrong in the script supervisor

DRAIN_STDOUT = b"o"
DRAIN_STDERR = b"e"
DRAIN_BOTH = b"b"
DRAIN_NONE = b"n"


class Channels(NamedTuple):
    """The descriptors between agent and script supervisor; each side closes what is the other's."""

    stdout: tuple[int, int]
    stderr: tuple[int, int]
    report: tuple[int, int]
    command: tuple[int, int]

    @classmethod
    def open(cls) -> Channels:
        """Make the four pipes, none of them among the descriptors 0 to 2. Raises OSError, and then leaves none open."""
        opened: list[int] = []
        try:
            pipes = []
            for _ in range(4):
                pipe = high_pipe()
                opened += pipe
                pipes.append(pipe)
        except OSError:
            close_all(opened)
            raise
        return cls(*pipes)

    def agents(self) -> tuple[int, ...]:
        """The ends that the agent uses."""
        return self.stdout[0], self.stderr[0], self.report[0], self.command[1]

    def supervisors(self) -> tuple[int, ...]:
        """The ends that only the script supervisor and the script use."""
        return self.stdout[1], self.stderr[1], self.report[1], self.command[0]


def high_pipe() -> tuple[int, int]:
    """A close-on-exec pipe outside the descriptors 0 to 2, which an agent may have been started without."""
    ends = os.pipe()
    try:
        return (fcntl.fcntl(ends[0], fcntl.F_DUPFD_CLOEXEC, 3), fcntl.fcntl(ends[1], fcntl.F_DUPFD_CLOEXEC, 3))
    finally:
        close_all(ends)


def close_all(descriptors: Iterable[int]) -> None:
    """Close these descriptors, also if some of them are closed already."""
    for descriptor in descriptors:
        try:
            os.close(descriptor)
        except OSError:  # the descriptor of the listing itself, closed already
            continue
