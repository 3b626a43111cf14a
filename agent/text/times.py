"""Moments for people."""

from __future__ import annotations

import time


def stamp(moment: float) -> str:
    """Return a moment (seconds since the epoch) in local time: "2026-11-23 08:15:02"."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
