"""The exception tree: each leaf knows its diagnostic code and what the operator can do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

# What moves a terminal's cursor, colours it, or turns the direction of a line; a tab does no harm.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def escaped(text: str) -> str:
    """Return a text as one line of a log may hold it, with its control characters escaped."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class DiagnosticCode(IntEnum):
    """The ``error_code`` of a completed host command, as the service and its consoles read it."""

    SUCCESS = 0
    SCRIPT_MISSING = 1
    SCRIPT_NOT_EXECUTABLE = 2
    SCRIPT_TIMED_OUT = 3
    SCRIPT_FAILED = 4
    UNKNOWN_ERROR = 5
    OUTPUTS_LEFT_OPEN = 6
    FAILED_AFTER_RESTART = 7


class Problem(NamedTuple):
    """One thing that is wrong with a text that somebody wrote, and where.

    ``file`` is the name to show; ``line`` and ``column`` count from 1, and 0 means "the whole file".
    ``message`` says what was found, ``remedy`` what is allowed or what to do.
    """

    file: str
    line: int
    column: int
    message: str
    remedy: str = ""
    severity: str = "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}" + (f" {self.remedy}" if self.remedy else "")


class AgentError(Exception):
    """A failure that is explained to a person: what happened and where, and what to do about it.

    ``passing`` is true where the same may succeed a moment later, with nothing changed on this host.
    """

    code = DiagnosticCode.UNKNOWN_ERROR
    passing = False

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message


class UsageError(AgentError):
    """The command line asks for something that cannot be."""


class ConfigError(AgentError):
    """The agent's own configuration is wrong."""


class SpecificationError(AgentError):
    """A deployment specification lacks something or contradicts itself."""


class ProblemsError(AgentError):
    """A text has problems; all of them are listed."""

    heading = "problems were found"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems]
        count = len(lines)
        text = lines[0] if count == 1 else "\n".join([f"{count} {self.heading}:", *lines])
        super().__init__(text)


class AppSpecError(ProblemsError):
    """The AppSpec file cannot be used."""

    heading = "problems were found in the AppSpec file"


class AppSpecMissingError(AgentError):
    """The revision holds no AppSpec file under any of the names that are looked for."""


class BundleError(AgentError):
    """The bundle cannot be fetched, is damaged, or holds what the settings refuse."""


class InstallError(AgentError):
    """The files of a revision could not be installed; the host is as it was before."""


class UnsafePathError(InstallError):
    """A path leads from what one account owns to what another owns; nothing was changed."""


class InstallConflictError(InstallError):
    """The plan of an installation meets things on the host that it must not touch; all are listed.

    ``hints`` are what in the AppSpec has probably led there; they come first.
    """

    def __init__(self, conflicts: Sequence[str], *, remedy: str = "", hints: Sequence[str] = ()) -> None:
        self.conflicts = tuple(conflicts)
        count = len(self.conflicts)
        lines = self.conflicts if count == 1 else (f"{count} conflicts:", *self.conflicts)
        super().__init__("\n".join([*hints, *lines]), remedy=remedy)


NOT_STARTED = "not started"
"""How a script ended that never ran."""


class ScriptError(AgentError):
    """A lifecycle event script ended in a way that fails its event.

    ``script_name`` is the location as the AppSpec gives it; ``log`` the tail of the event's output. ``started`` says
    whether the script has run at all, ``ending`` in few words how it ended.
    """

    def __init__(
        self,
        message: str,
        *,
        code: DiagnosticCode,
        script_name: str,
        log: str = "",
        started: bool = True,
        ending: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.script_name = script_name
        self.log = log
        self.started = started
        self.ending = ending or ("failed" if started else NOT_STARTED)
