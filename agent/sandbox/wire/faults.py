"""Faults on request: what a test wants the service to do wrong."""

from __future__ import annotations

import threading
import time
from typing import Any

from agent.sandbox.errors import RefusedError

KINDS = ("server", "throttle", "client", "hang-up", "lose-answer", "delay")


class HangUpError(ConnectionAbortedError):
    """The connection is to be closed without an answer."""


class Faults:
    """Faults that wait for calls; each is used up after so many calls of its operation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[dict[str, Any]] = []

    def add(self, fault: dict[str, Any]) -> None:
        """Take a fault: ``kind``, ``operation``, ``times`` (1), and ``seconds`` (1) for a delay."""
        if fault.get("kind") not in KINDS or not isinstance(fault.get("operation"), str):
            raise RefusedError("InvalidInputException", f"A fault has an operation and a kind of {', '.join(KINDS)}.")
        with self._lock:
            self._waiting.append({"times": 1, "seconds": 1.0, **fault})

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._waiting.clear()

    def before(self, operation: str) -> bool:
        """Let a waiting fault happen; tell whether the answer must be lost after the call was done."""
        fault = self._take(operation)
        if fault is None:
            return False
        kind = fault["kind"]
        if kind == "hang-up":
            raise HangUpError("by request")
        if kind == "server":
            raise RefusedError("ServerException", "A fault by request.", status=500)
        if kind == "throttle":
            raise RefusedError("ThrottlingException", "Rate exceeded")
        if kind == "client":
            raise RefusedError("ClientException", "A fault by request.")
        if kind == "delay":
            time.sleep(float(fault["seconds"]))
        return bool(kind == "lose-answer")

    def _take(self, operation: str) -> dict[str, Any] | None:
        with self._lock:
            for fault in self._waiting:
                if fault["operation"] == operation:
                    fault["times"] -= 1
                    if fault["times"] <= 0:
                        self._waiting.remove(fault)
                    return fault
        return None
