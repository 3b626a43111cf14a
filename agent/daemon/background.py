"""One thread that does what may take long, so that the main loop always answers signals and systemd."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Done(NamedTuple):
    """A job that has ended: what it was called, what it gave or raised, and the seconds that it took."""

    name: str
    result: Any
    error: Exception | None
    seconds: float


class Background:
    """Runs jobs one after the other in a thread that dies with the process.

    ``wake`` is a descriptor that becomes readable when a job has ended.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[str, Callable[[], Any]]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self.wake, self._ring = os.pipe()
        self._since: float | None = None
        # A daemon thread: a stop must not wait for a long poll, and closing the process closes its connection.
        threading.Thread(target=self._work, name="background", daemon=True).start()

    def start(self, name: str, job: Callable[[], Any]) -> None:
        """Have a job done."""
        self._jobs.put((name, job))

    def take(self) -> list[Done]:
        """What has ended since the last call."""
        ended = []
        while not self._done.empty():
            os.read(self.wake, 1)
            ended.append(self._done.get())
        return ended

    def busy_for(self) -> float:
        """Seconds that the running job has taken so far; 0 where none runs."""
        since = self._since
        return time.monotonic() - since if since is not None else 0.0

    def _work(self) -> None:
        while True:
            name, job = self._jobs.get()
            self._since = start = time.monotonic()
            result, failed = None, None
            try:
                result = job()
            except Exception as error:  # noqa: BLE001 - the outermost frame of the thread; the main loop judges it
                failed = error
            self._since = None
            self._done.put(Done(name, result, failed, time.monotonic() - start))
            os.write(self._ring, b"!")
