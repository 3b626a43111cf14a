"""The agent's side of a running script: one loop reads what the script writes and what its supervisor reports."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from agent.hooks.channels import REPORT_ENDED, REPORT_STARTED, REPORT_STOPPED, REPORT_TIMED_OUT
from agent.hooks.output import LineSplitter, Sinks
from agent.hooks.supervisor import ScriptSupervisor

_AT_ONCE = 64 * 1024  # the size of a pipe
_LONGEST_WAIT = 3600.0

QUIET = 0.2
"""Seconds without output after which a script that has ended is taken to have said everything."""

LONGEST_REST = 2.0
"""Seconds for which an ended script's output is read at most, where something in the background goes on writing."""


class EndKind(Enum):
    """What the script supervisor reports last."""

    ENDED = "the script has ended by itself"
    TIMED_OUT = "its time was over, and its whole tree has been ended"
    STOPPED = "its whole tree has been ended on request"
    SUPERVISOR_LOST = "the script supervisor is gone"


class Ending(NamedTuple):
    """The end of a script: ``status`` is its wait status; ``failed_step`` and ``error`` say why it never started."""

    kind: EndKind
    status: int = 0
    failed_step: str = ""
    error: int = 0
    detail: str = ""


class Follower:
    """Reads a script's two outputs and the script supervisor's reports until the script has ended.

    Memory is two pieces of a line, whatever the script writes. ``on_started`` is called once with the pid of the script
    and its start time.
    """

    def __init__(self, supervisor: ScriptSupervisor, sinks: Sinks, *, on_started: Callable[[int, int], None]) -> None:
        self._sinks = sinks
        self._on_started = on_started
        self._supervisor = supervisor
        self._streams = {supervisor.stdout: "stdout", supervisor.stderr: "stderr"}
        self._splitters = {name: LineSplitter() for name in self._streams.values()}
        self._reports = b""
        self._poll = select.poll()
        for descriptor in (*self._streams, supervisor.report):
            self._poll.register(descriptor, select.POLLIN)
        self.script = 0
        self.script_start_time = 0
        self.ending: Ending | None = None

    @property
    def open_streams(self) -> dict[int, str]:
        """The outputs that somebody still holds, by descriptor; stdout comes first."""
        return self._streams

    def until_ended(self, deadline: float) -> Ending | None:
        """Follow the script until its end is reported; None if the deadline (monotonic seconds) comes first."""
        while self.ending is None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            self._step(remaining)
        return self.ending

    def until_closed(self, deadline: float) -> bool:
        """Read until both outputs are closed; False if the deadline (monotonic seconds) comes first."""
        while self._streams:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._step(remaining)
        return True

    def rest(self) -> None:
        """Read what an ended script has written, without waiting for what it left running in the background.

        The first step reads what a pipe holds. Then a little more is waited for, because a script may have piped its
        output through a helper that is a moment behind.
        """
        limit = time.monotonic() + LONGEST_REST
        while self._streams and time.monotonic() < limit and self._step(QUIET):
            pass

    def finish(self) -> None:
        """Pass on the last lines, which have no end."""
        for name, splitter in self._splitters.items():
            last = splitter.finish()
            if last:
                self._sinks.output(name, last)

    def _step(self, timeout: float) -> bool:
        """Wait for something to read, and read it; False if there was nothing in time."""
        ready = self._poll.poll(int(min(timeout, _LONGEST_WAIT) * 1000) + 1)
        for descriptor, _ in ready:
            if descriptor == self._supervisor.report:
                self._read_reports()
            else:
                self._read_output(descriptor)
        return bool(ready)

    def _read_output(self, descriptor: int) -> None:
        data = os.read(descriptor, _AT_ONCE)
        name = self._streams[descriptor]
        if not data:
            self._poll.unregister(descriptor)
            del self._streams[descriptor]
        for piece in self._splitters[name].feed(data):
            self._sinks.output(name, piece)

    def _read_reports(self) -> None:
        data = os.read(self._supervisor.report, 4096)
        *reports, self._reports = (self._reports + data).split(b"\n")
        for report in reports:
            self._take(report.decode())
        if not data and self.ending is None:
            self.ending = Ending(EndKind.SUPERVISOR_LOST)
        if self.ending is not None:
            self._poll.unregister(self._supervisor.report)

    def _take(self, report: str) -> None:
        word, _, rest = report.partition(" ")
        if word == REPORT_STARTED:
            self.script, self.script_start_time = map(int, rest.split())
            self._on_started(self.script, self.script_start_time)
        elif word == REPORT_ENDED:
            status, _, failure = rest.partition(" ")
            step, _, error = failure.partition(" ")
            self.ending = Ending(EndKind.ENDED, int(status), failed_step=step, error=int(error or 0))
        elif word == REPORT_TIMED_OUT:
            self.ending = Ending(EndKind.TIMED_OUT)
        elif word == REPORT_STOPPED:
            self.ending = Ending(EndKind.STOPPED)
        else:
            self.ending = Ending(EndKind.SUPERVISOR_LOST, detail=rest)
