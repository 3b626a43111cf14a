"""The commands in hand and their workers: starting them, adopting those of an earlier supervisor, trying again."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

from agent.errors import AgentError
from agent.retry import RetryPolicy, growing
from agent.store.command_ids import ids_of
from agent.store.commands import CommandDirectory, CommandStore
from agent.worker.handoff import ENDED, EXIT_UNREPORTED, NOT_FORKED, STARTED, parse_report

AT_MOST = 16
"""Commands that are worked on at once, as with the official agents."""

RESTARTS = RetryPolicy(growing(10.0, 90.0))
"""For starting a worker again where one could not do its work."""

LONGEST_START = 60.0
"""Seconds after which a worker that has not reported itself counts as stuck: a loaded host needs a few."""

_log = structlog.stdlib.get_logger(__name__)

Start = Callable[[CommandDirectory], int]
"""Starts a worker for a command; returns the descriptor that its report is read from, whose end is its end."""


class _Worker(NamedTuple):
    """A worker at work.

    ``descriptor`` is its report, ``reported`` what was read of it, and ``since`` when it was asked for. A worker of an
    earlier supervisor has its pidfd as the descriptor, and reports nothing.
    """

    directory: CommandDirectory
    descriptor: int
    since: float
    reported: bytes | None = None


class _Rest(NamedTuple):
    """A command that nobody works on: when it is tried again, and how often that was in vain."""

    due: float
    failures: int


class Workers:
    """Sees to it that somebody works on every command until it is closed.

    The descriptors of workers are registered with ``selector``, with this object as data.
    """

    def __init__(
        self,
        store: CommandStore,
        selector: selectors.BaseSelector,
        *,
        closed: Callable[[CommandDirectory], None] = lambda directory: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._selector = selector
        self._closed = closed
        self._clock = clock
        self._at_work: dict[int, _Worker] = {}
        self._resting: dict[str, _Rest] = {}
        self._failures: dict[str, int] = {}

    def __len__(self) -> int:
        """How many commands are worked on now."""
        return len(self._at_work)

    def at_work(self) -> list[CommandDirectory]:
        """Return the commands that are worked on now."""
        return [worker.directory for worker in self._at_work.values()]

    def leave(self) -> None:
        """Log which commands their workers go on with when this process ends."""
        for worker in self._at_work.values():
            self._log_of(worker.directory).info("The command's worker goes on with it and reports it")

    def knows(self, directory: CommandDirectory) -> bool:
        """Whether a command is in hand; a disk that does not say counts as if it were."""
        try:
            return directory.exists()
        except OSError:
            return True

    def look_around(self) -> None:
        """Find every command that is in hand: adopt the workers that live, and put the other ones down for now."""
        try:
            found = list(self._store)
        except OSError as error:
            _log.error("The records of commands in %s cannot be read: %s", self._store.directory, error.strerror)
            return
        for directory in found:
            if directory.key in self._resting or any(
                worker.directory.key == directory.key for worker in self._at_work.values()
            ):
                continue
            if not self._adopt(directory):
                self._resting[directory.key] = _Rest(self._clock(), 0)

    def begin(self, directory: CommandDirectory, start: Start) -> None:
        """Start a worker; where that is impossible now, it is tried again later."""
        failures = self._resting[directory.key].failures if directory.key in self._resting else 0
        try:
            report = start(directory)
        except (OSError, AgentError) as error:
            self._not_started(directory, failures, error)
            return
        self._resting.pop(directory.key, None)
        self._watch(_Worker(directory, report, self._clock(), b""), failures)

    def begin_due(self, start: Start) -> None:
        """Start a worker for every command whose time has come, as far as there is room."""
        now = self._clock()
        for key, rest in sorted(self._resting.items(), key=lambda item: item[1].due):
            if rest.due > now or len(self) >= AT_MOST:
                return
            directory = self._store.directory_at(key)
            if not self.knows(directory):
                del self._resting[key]
            elif not self._adopt(directory):
                self.begin(directory, start)

    def next_due(self) -> float | None:
        """When the next command is to be tried again, on the monotonic clock; None if none waits."""
        return min((rest.due for rest in self._resting.values()), default=None)

    def are_stuck(self) -> bool:
        """Return whether a worker was asked for long ago and has not begun; each counts once in that time."""
        now = self._clock()
        stuck = [
            worker for worker in self._at_work.values() if worker.reported == b"" and worker.since < now - LONGEST_START
        ]
        for worker in stuck:  # the next fork server has its own time, though this one may stay as it is
            self._at_work[worker.descriptor] = worker._replace(since=now)
        return bool(stuck)

    def heard(self, descriptor: int) -> bool:
        """Take in what a worker reports, or its end; return whether it has ended."""
        worker = self._at_work[descriptor]
        if worker.reported is not None and (part := os.read(descriptor, 4096)):
            self._at_work[descriptor] = worker._replace(reported=worker.reported + part)
            return False
        del self._at_work[descriptor]
        self._selector.unregister(descriptor)
        os.close(descriptor)
        failures = self._failures.pop(worker.directory.key, 0)
        if self.knows(worker.directory):
            self._judge(worker, failures)
        else:
            self._closed(worker.directory)
        return True

    def _judge(self, worker: _Worker, failures: int) -> None:
        """Decide when to try again what a worker has left, or a fork server that has forked none."""
        directory = worker.directory
        report = parse_report(worker.reported or b"")
        if NOT_FORKED in report:
            self._not_started(directory, failures, OSError(report[NOT_FORKED], os.strerror(report[NOT_FORKED])))
            return
        status = report.get(ENDED)
        if status == EXIT_UNREPORTED:
            self._rest(directory, failures + 1)
            return
        log = self._log_of(directory)
        pid = report.get(STARTED, "without a pid")  # it may have ended before it reported one
        if worker.reported == b"":
            log.info("The fork server ended before it forked a worker for the command")
        elif status is None and worker.reported is not None:
            log.warning("The worker %s of the command was killed", pid)
        elif status:
            log.warning("The worker %s of the command ended with status %d", pid, status)
        # What it has left is judged at once, by a worker of its own; one that cannot even start is not hurried.
        self._rest(directory, failures + 1, at_once=failures == 0)

    def _not_started(self, directory: CommandDirectory, failures: int, error: Exception) -> None:
        self._log_of(directory).error("No worker could be started for the command: %s", error)
        self._rest(directory, failures + 1)

    def _log_of(self, directory: CommandDirectory) -> structlog.stdlib.BoundLogger:
        return _log.bind(**ids_of(directory, self._store.layout))

    def _adopt(self, directory: CommandDirectory) -> bool:
        """Watch the worker that holds a command's lock; False if there is none."""
        try:
            pid = directory.holder()
            if not pid:
                return False
            pidfd = os.pidfd_open(pid)
        except OSError:
            return False
        self._resting.pop(directory.key, None)
        self._watch(_Worker(directory, pidfd, self._clock()), 0)
        return True

    def _watch(self, worker: _Worker, failures: int) -> None:
        self._at_work[worker.descriptor] = worker
        self._failures[worker.directory.key] = failures
        self._selector.register(worker.descriptor, selectors.EVENT_READ, self)

    def _rest(self, directory: CommandDirectory, failures: int, *, at_once: bool = False) -> None:
        pause = 0.0 if at_once else RESTARTS.delay(failures)
        self._resting[directory.key] = _Rest(self._clock() + pause, failures)
