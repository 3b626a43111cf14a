"""Telling systemd how the agent is (sd_notify): a datagram to the socket that NOTIFY_SOCKET names, no library."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd puts into the agent's environment; not for the processes that the agent starts."""


class Notifier:
    """Sends the agent's state to the service manager; does nothing where there is none, and never fails.

    ``environment`` is read once. The messages are those of sd_notify(3).
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self.watchdog_interval = _watchdog_interval(environment)
        """Seconds between two ``watchdog`` messages: half of what systemd allows; None where it does not ask."""

    def ready(self, status: str = "") -> None:
        """The agent works, or works again after a reload."""
        self._send("READY=1", status)

    def reloading(self, status: str = "") -> None:
        """The agent reads its configuration anew; ``ready`` must follow."""
        # systemd 253 and later want to know when, by the clock that it uses itself.
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}", status)

    def stopping(self, status: str = "") -> None:
        """The agent is about to end."""
        self._send("STOPPING=1", status)

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send("", text)

    def watchdog(self) -> None:
        """The agent is alive; systemd ends one that is silent for too long."""
        self._send("WATCHDOG=1")

    def _send(self, message: str, status: str = "") -> None:
        if self._address is None:
            return
        if status:
            # A line end would begin another assignment, and the text may come from elsewhere.
            message = f"{message}\nSTATUS={' '.join(status.split())}".strip()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.setblocking(False)
                connection.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError:
            return  # the agent's work does not depend on who watches


def _address(text: str) -> str | bytes | None:
    if text.startswith("@"):
        return b"\0" + os.fsencode(text[1:])
    return text if text.startswith("/") else None


def _watchdog_interval(environment: Mapping[str, str]) -> float | None:
    limit, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not limit.isascii() or not limit.isdigit() or int(limit) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(limit) / 2_000_000
