"""What is wrong with a text, collected while it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from agent.errors import Problem

# Beyond this nobody reads on; a hostile file must not turn into megabytes of messages.
MAX_LISTED = 100

# What to do about a problem; as a function where finding the words costs something and they may not be listed at all.
Remedy = str | Callable[[], str]

# A value is shown for recognition, not in full.
MAX_SHOWN = 60


class Placed(Protocol):
    """Anything that knows where it is in the text; both numbers count from 0."""

    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


class Place(NamedTuple):
    """A place in the text; both numbers count from 0."""

    line: int
    column: int


class Report:
    """The problems of one text, errors and warnings, in the order of their places."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.failed = False
        self._listed: dict[str, list[Problem]] = {"error": [], "warning": [], "note": []}
        self._left_out = dict.fromkeys(self._listed, 0)

    def error(self, place: Placed, message: str, remedy: Remedy = "", *, usable: bool = False) -> None:
        """Note something that makes the text unusable, or only that a deployment would not do what is meant."""
        failed = self.failed
        self.add(place.line + 1, place.column + 1, message, remedy, severity="error")
        if usable:
            self.failed = failed

    def warning(self, place: Placed, message: str, remedy: Remedy = "") -> None:
        """Note something that is allowed but hardly meant."""
        self.add(place.line + 1, place.column + 1, message, remedy, severity="warning")

    def note(self, place: Placed, message: str, remedy: Remedy = "") -> None:
        """Note something that this machine does not know, and that may be right where it matters."""
        self.add(place.line + 1, place.column + 1, message, remedy, severity="note")

    def add(self, line: int, column: int, message: str, remedy: Remedy, *, severity: str) -> None:
        """Note a problem at a place that counts from 1, or at line 0 for the whole file."""
        self.failed = self.failed or severity == "error"
        listed = self._listed[severity]
        if len(listed) < MAX_LISTED:
            text = remedy if isinstance(remedy, str) else remedy()
            listed.append(Problem(self.filename, line, column, message, text, severity))
        else:
            self._left_out[severity] += 1

    @property
    def full(self) -> bool:
        """Whether a further error is only counted, so that its details need not be found."""
        return len(self._listed["error"]) >= MAX_LISTED

    def errors(self) -> list[Problem]:
        """Return the errors alone, by place."""
        return [problem for problem in self.problems() if problem.severity == "error"]

    def problems(self) -> list[Problem]:
        """Return all that was noted, by place; where a limit cut the list, the last entries count what is missing."""
        found = [problem for listed in self._listed.values() for problem in listed]
        found.sort(key=lambda problem: (problem.line, problem.column))
        for severity, count in self._left_out.items():
            if count:
                noun = severity if count == 1 else f"{severity}s"
                message = f"{count} more {noun} of this kind or another are not listed."
                found.append(Problem(self.filename, 0, 0, message, "Correct the listed ones first.", severity))
        return found


def shown(text: str) -> str:
    """Quote a value for a message: control characters escaped, long values cut."""
    return repr(text) if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]!r}..."


def listed(words: list[str], *, last: str = "or") -> str:
    """Join words for a sentence: ``a, b or c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
