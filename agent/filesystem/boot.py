"""Which boot of this host it is: what was running in an earlier one is not running now."""

from __future__ import annotations

import time

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id() -> str:
    """The kernel's id of this boot; a container that is started anew may get a new one. Empty where there is none.

    Raises OSError where it cannot be read now, since no id would count as that of another boot.
    """
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ""


def since_boot() -> int:
    """Nanoseconds since this boot, the time of sleep included; nobody can set this clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
