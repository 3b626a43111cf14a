"""How long a worker may go on: after its supervisor was stopped, and without any progress."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.worker.session import Session

LOOK_EVERY = 5.0
"""Seconds between two looks at whether there is a supervisor, and progress."""


class WorkerStopped(KeyboardInterrupt):
    """The worker has to end; ``str()`` says why, as the end of a sentence."""


class TimeLimit:
    """While it is entered, raises WorkerStopped in the main thread once the worker may not go on.

    That is once the agent has been stopped for ``kill_agent_max_wait_time_seconds``, where a supervisor that comes back
    in time sets this back, or once nothing was expected or seen to happen for ``command_stall_seconds``. It is raised
    again where what follows hangs as well. The alarm of the process is used for it, so that no thread is around when a
    script supervisor is forked.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._limit = session.settings.kill_agent_max_wait_time_seconds
        self._stall = session.settings.command_stall_seconds
        self._alone_since: float | None = None
        self._stalled_at = 0.0

    def expect(self, seconds: float = 0.0) -> None:
        """Count anew: something has happened, and the next step may take so long before anything else does."""
        self._stalled_at = time.monotonic() + seconds + self._stall

    def __enter__(self) -> TimeLimit:
        self.expect()
        signal.signal(signal.SIGALRM, self._look)
        every = min(LOOK_EVERY, max(min(self._limit, self._stall) / 2, 0.1))
        signal.setitimer(signal.ITIMER_REAL, every, every)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)

    def _look(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now >= self._stalled_at:
            self.expect()
            raise WorkerStopped(f"it made no progress for {self._stall:g} s, which command_stall_seconds limits")
        if not self._session.supervisor_is_gone():
            self._alone_since = None
            return
        if self._alone_since is None:
            self._alone_since = now
        if now - self._alone_since >= self._limit:
            self._alone_since = None
            raise WorkerStopped(
                f"the agent had been stopped for {self._limit:g} s, the longest that it may go on alone"
            )
