"""Waiting for what a host does not have yet while it boots: the network, instance metadata, a role."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from agent.identity.errors import IdentityError

Found = TypeVar("Found")

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds between two attempts: the pause doubles from the first to the longest."""


def until_found(
    attempt: Callable[[], Found], *, sleep: Callable[[float], object], on_trouble: Callable[[IdentityError], object]
) -> Found | None:
    """Try until something is found; there is no limit, since a host without it can do nothing else.

    ``on_trouble`` is told why an attempt failed, once for as long as the reason stays the same. ``sleep`` pauses for
    some seconds and returns true where waiting is to end, as ``threading.Event.wait`` does; then None is given.
    Raises IdentityError at once where waiting is of no use (``lasting``).
    """
    pause = FIRST_PAUSE
    told = ""
    while True:
        try:
            return attempt()
        except IdentityError as error:
            if error.lasting:
                raise
            if str(error) != told:
                told = str(error)
                on_trouble(error)
        if sleep(pause):
            return None
        pause = min(2 * pause, LONGEST_PAUSE)
