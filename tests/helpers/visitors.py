"""Visitors of a web site who never stop asking: what they were answered, and every request that failed."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Collection
from types import TracebackType

from waiting import until


class Visitors:
    """Some visitors at an address, each of whom makes one request after the other, on a new connection each time.

    A request has failed unless its whole answer came, with status 200 and a body that is one of ``allowed``.
    """

    def __init__(self, address: str, port: int, allowed: Collection[str], *, count: int = 3) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._place = (address, port)
        self._allowed = allowed
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._visit) for _ in range(count)]

    def wait_for_more(self, count: int = 30) -> None:
        """Wait until so many more requests have been answered, or have failed."""
        desired = len(self.answers) + len(self.failures) + count
        until(lambda: len(self.answers) + len(self.failures) >= desired, "more visitors")

    def _visit(self) -> None:
        while not self._over.wait(0.01):
            try:
                status, body = self._ask()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                continue
            if status == 200 and body in self._allowed:
                self.answers.append(body)
            else:
                self.failures.append(f"{status} {body[:200]!r}")

    def _ask(self) -> tuple[int, str]:
        connection = http.client.HTTPConnection(*self._place)
        try:
            connection.request("GET", "/")
            reply = connection.getresponse()
            return reply.status, reply.read().decode(errors="replace")
        finally:
            connection.close()

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
