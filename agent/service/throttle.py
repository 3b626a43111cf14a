"""A gate that all processes of this host pass before a request, closed for a while when the service throttles."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import random as _random
import time
from collections.abc import Callable
from typing import NamedTuple

FIRST_DELAY = 0.3
LONGEST_DELAY = 30.0
JITTER = 0.25
"""Seconds, and the part of a delay that chance adds for each waiter."""

LARGEST_FILE = 200


def boot_clock() -> float:
    """Return the seconds since the boot, time asleep included: the same for all processes, and never set back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class _State(NamedTuple):
    delay: float
    until: float


class ThrottleGate:
    """Shared by all processes that name the same file; ``path=None`` keeps it within this process.

    ``sleep`` waits that many seconds, and may raise to give up waiting. A file that cannot be read counts as an
    open gate, and one that cannot be written leaves the gate to this process: throttling never stops the agent.
    """

    def __init__(
        self,
        path: str | None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = boot_clock,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._path = path
        self._sleep = sleep
        self._clock = clock
        self._random = random
        self._own: _State | None = None
        self._was_open = False  # when somebody last waited

    def remaining(self) -> float:
        """Return the seconds until the next request is welcome; 0 when the gate is open."""
        state = self._state()
        return 0.0 if state is None else max(0.0, state.until - self._clock())

    def wait(self) -> None:
        """Wait while the gate is closed, each waiter a little longer by chance."""
        state = self._state()
        self._was_open = state is None
        remaining = 0.0 if state is None else state.until - self._clock()
        if state is not None and remaining > 0:
            self._sleep(remaining + JITTER * state.delay * self._random())

    def throttled(self) -> None:
        """Close the gate: for 0.3 s, and for twice as long each time the service throttles after a delay is over.

        Requests that were under way together and are throttled together count once.
        """
        self._was_open = False
        self._change(self._closed)

    def _closed(self, state: _State | None) -> _State:
        now = self._clock()
        if state is not None and now < state.until:
            return state
        delay = FIRST_DELAY if state is None else min(LONGEST_DELAY, state.delay * 2)
        return _State(delay, now + delay)

    def succeeded(self) -> None:
        """Open the gate; where the last ``wait`` found it open, there is nothing to do, and no need to look."""
        if not self._was_open:
            self._change(lambda _: None)

    def _state(self) -> _State | None:
        if self._path is None:
            return self._own
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return self._own
        except OSError as error:
            self._note(error)
            return self._own
        try:
            return self._understood(os.read(descriptor, LARGEST_FILE)) or self._own
        except OSError as error:
            self._note(error)
            return self._own
        finally:
            os.close(descriptor)

    def _understood(self, data: bytes) -> _State | None:
        try:
            value = json.loads(data)
            state = _State(float(value["delay"]), float(value["until"]))
        except (ValueError, TypeError, KeyError):
            return None
        # A deadline further away than its delay, but for rounding, is one from before a reboot, or damage.
        sound = FIRST_DELAY <= state.delay <= LONGEST_DELAY and state.until - self._clock() < 1.01 * state.delay
        return state if sound else None

    def _change(self, change: Callable[[_State | None], _State | None]) -> None:
        if self._path is None:
            self._own = change(self._own)
            return
        try:
            self._change_file(self._path, change)
            self._own = None
        except OSError as error:
            self._note(error)
            self._own = change(self._own)

    def _change_file(self, path: str, change: Callable[[_State | None], _State | None]) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # held for these few lines only; ends with the descriptor
            state = change(self._understood(os.pread(descriptor, LARGEST_FILE, 0)) or self._own)
            data = b"" if state is None else json.dumps(state._asdict()).encode()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, data, 0)
        finally:
            os.close(descriptor)

    def _note(self, error: OSError) -> None:
        logging.getLogger(__name__).debug("The throttle file %s cannot be used: %s.", self._path, error.strerror)
