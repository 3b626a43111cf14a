"""What a check has found, and the row of a check in the table."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from agent.doctor.subject import Subject


class Result(str, Enum):
    """How a check has ended; a check that was skipped says nothing about the host."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


class Finding(NamedTuple):
    """The result of a check with what was found, and what to do about it where it did not pass."""

    result: Result
    text: str
    remedy: str = ""


class SkipError(Exception):
    """A check cannot be made here; the text says why."""


class Check(NamedTuple):
    """One check: its number and id stay the same for ever; ``examines`` and ``remedy`` are for the document.

    ``repair`` does what is safe and yields a line for each change.
    """

    number: int
    name: str
    examines: str
    remedy: str
    run: Callable[[Subject], Finding]
    repair: Callable[[Subject], list[str]] | None = None


def passed(text: str) -> Finding:
    """Return the finding of a check that has nothing to complain about."""
    return Finding(Result.PASS, text)


def warned(text: str, remedy: str) -> Finding:
    """Return the finding of something that works now and should be looked at."""
    return Finding(Result.WARN, text, remedy)


def failed(text: str, remedy: str) -> Finding:
    """Return the finding of something that keeps the agent or a deployment from working."""
    return Finding(Result.FAIL, text, remedy)
