"""Errors that last: told once in full, then counted, summed up ever more rarely, and told to be over."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

FIRST_INTERVAL = 60.0
"""Seconds from the full text to the first summary; each later interval is twice as long."""

LONGEST_INTERVAL = 3600.0
"""Seconds; an error that lasts for days is still told of every hour."""


CAUSES_TOLD = 8
"""Different causes of one problem that are logged as they turn up; more are for the summaries."""

_VARYING = re.compile(r"\w*[0-9]\w*")


class Lasting(NamedTuple):
    """A problem that lasts; ``since`` is in seconds since the epoch."""

    since: float
    text: str
    key: str


class _Problem(NamedTuple):
    text: str
    since: float
    started: float
    times: int
    told: float
    interval: float
    causes: frozenset[str]


class Recurring:
    """Keeps errors that come back at every poll from filling the log.

    Each kind of error has a key. The first occurrence is logged as it is, with cause and remedy, and so is the first of
    another cause, told by its words (numbers and ids may change). Later ones are counted, and a line sums them up
    after one minute, two, four and so on up to an hour; one line says when it is over. May be used from several
    threads. ``clock`` gives seconds that never go back.
    """

    def __init__(self, log: logging.Logger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._problems: dict[str, _Problem] = {}
        self._lock = threading.Lock()

    def happened(self, key: str, text: str, *, level: int = logging.ERROR) -> None:
        """Note that an error has happened (again)."""
        with self._lock:
            line = self._noted(key, text)
        if line:
            self._log.log(level, "%s", line)

    def _noted(self, key: str, text: str) -> str:
        """Count an occurrence; gives what is to be logged of it, if anything."""
        now, cause = self._clock(), _VARYING.sub("#", text)
        problem = self._problems.get(key)
        if problem is None:
            self._problems[key] = _Problem(text, now, round(time.time()), 1, now, FIRST_INTERVAL, frozenset({cause}))
            return text
        problem = problem._replace(text=text, times=problem.times + 1)
        line = ""
        if cause not in problem.causes and len(problem.causes) < CAUSES_TOLD:
            problem = problem._replace(causes=problem.causes | {cause})
            line = text
        elif now - problem.told >= problem.interval:
            problem = problem._replace(told=now, interval=min(problem.interval * 2, LONGEST_INTERVAL))
            lasting = readable_duration(now - problem.since)
            line = f"Still so after {lasting}, {problem.times} times by now: {text}"
        self._problems[key] = problem
        return line

    def over(self, key: str, text: str) -> bool:
        """Say with ``text`` that an error is over, if there was one; gives whether there was.

        The text is a whole sentence without its full stop, such as "The command service answers again".
        """
        with self._lock:
            problem = self._problems.pop(key, None)
        if problem is None:
            return False
        lasted = readable_duration(self._clock() - problem.since)
        times = "once" if problem.times == 1 else f"{problem.times} times"
        self._log.info("%s, after %s in which the error happened %s.", text, lasted, times)
        return True

    def lasting(self) -> list[Lasting]:
        """Return the problems that last now, the oldest first."""
        with self._lock:
            found = sorted(self._problems.items(), key=lambda item: item[1].since)
        return [Lasting(problem.started, problem.text, key) for key, problem in found]

    def forget(self, key: str) -> None:
        """Have the next occurrence logged in full, as if it were the first."""
        with self._lock:
            self._problems.pop(key, None)


def readable_duration(seconds: float) -> str:
    """A length of time in the two largest of its units: ``45 s``, ``12 min``, ``3 h 5 min``, ``2 d 4 h``."""
    whole = max(int(seconds), 0)
    if whole < 120:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours < 2:
        return f"{minutes} min"
    if days < 2:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"
