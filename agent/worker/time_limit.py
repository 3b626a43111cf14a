"""How long a worker may go on after its supervisor was stopped."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.worker.session import Session

LOOK_EVERY = 5.0
"""Seconds between two looks at whether there is a supervisor."""


class WorkerStopped(KeyboardInterrupt):
    """The worker has to end; ``str()`` says why, as the end of a sentence."""


class TimeLimit:
    """While it is entered, raises WorkerStopped in the main thread once the agent has been stopped for too long.

    The limit is the setting ``kill_agent_max_wait_time_seconds``; a supervisor that comes back in time sets it back.
    The alarm of the process is used for it, so that no thread is around when a script's keeper is forked.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._limit = session.settings.kill_agent_max_wait_time_seconds
        self._alone_since: float | None = None

    def __enter__(self) -> TimeLimit:
        signal.signal(signal.SIGALRM, self._look)
        every = min(LOOK_EVERY, max(self._limit / 2, 0.1))
        signal.setitimer(signal.ITIMER_REAL, every, every)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)

    def _look(self, number: int, frame: FrameType | None) -> None:
        if not self._session.supervisor_is_gone():
            self._alone_since = None
            return
        now = time.monotonic()
        if self._alone_since is None:
            self._alone_since = now
        if now - self._alone_since >= self._limit:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise WorkerStopped(
                f"the agent had been stopped for {self._limit:g} s, the longest that it may go on alone"
            )
