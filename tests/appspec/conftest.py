from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

import pytest

from agent.appspec.model import AppSpec
from agent.appspec.parse import check
from agent.errors import Problem

HEAD = "version: 0.0\nos: linux\n"


class Reading:
    """What the parser made of a text that stands below two good first lines, so that the text begins in line 3."""

    def __init__(self, text: str, *, head: str = HEAD, events: Sequence[str] | None = None) -> None:
        data = (head + textwrap.dedent(text).lstrip("\n")).encode()
        self.result, self.problems = check(data, filename="appspec.yml", events=events)

    @property
    def appspec(self) -> AppSpec:
        assert self.result is not None, [str(problem) for problem in self.errors]
        return self.result

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == "warning"]

    @property
    def error(self) -> Problem:
        assert self.result is None
        assert len(self.errors) == 1, [str(problem) for problem in self.errors]
        return self.errors[0]

    @property
    def warning(self) -> Problem:
        assert self.result is not None, [str(problem) for problem in self.errors]
        assert len(self.warnings) == 1, [str(problem) for problem in self.warnings]
        return self.warnings[0]


@pytest.fixture
def read() -> Callable[..., Reading]:
    return Reading
