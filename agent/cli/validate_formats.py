"""What ``codedeploy-agent validate`` prints for programs: JSON, GitHub's annotations, SARIF."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import quote

from agent import __version__
from agent.errors import Problem
from agent.local.validation import Validation

_GITHUB_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}
_RULE = "appspec"


def _json(results: Sequence[Validation]) -> Iterator[str]:
    """Yield one object; ``file`` is null where several paths were checked, and each problem names its own."""
    file = results[0].file if len(results) == 1 else None
    yield json.dumps(
        {
            "valid": all(result.valid for result in results),
            "file": file,
            "problems": [problem._asdict() for problem in _problems(results)],
        },
        indent=2,
    )


def _github(results: Sequence[Validation]) -> Iterator[str]:
    """Yield a workflow command for each problem, which GitHub shows beside the line."""
    for problem in _problems(results):
        place = {"file": problem.file}
        if problem.line:
            place |= {"line": str(problem.line), "col": str(problem.column)}
        properties = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in place.items())
        text = f"{problem.message} {problem.remedy}".rstrip()
        yield f"::{_GITHUB_COMMANDS[problem.severity]} {properties}::{_escaped(text)}"


def _escaped(text: str, more: str = "") -> str:
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _sarif(results: Sequence[Validation]) -> Iterator[str]:
    """Yield a SARIF 2.1.0 log with one run."""
    driver = {
        "name": "codedeploy-agent validate",
        "version": __version__,
        "rules": [{"id": _RULE, "shortDescription": {"text": "A mistake in an AppSpec file or its revision."}}],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_sarif_result(problem) for problem in _problems(results)],
    }
    yield json.dumps({"version": "2.1.0", "runs": [run]}, indent=2)


def _sarif_result(problem: Problem) -> dict[str, object]:
    address = quote(problem.file.encode("utf-8", "surrogateescape"))
    location: dict[str, object] = {"artifactLocation": {"uri": f"file://{address}" if address[:1] == "/" else address}}
    if problem.line:
        location["region"] = {"startLine": problem.line, "startColumn": problem.column}
    return {
        "ruleId": _RULE,
        "level": problem.severity,
        "message": {"text": f"{problem.message} {problem.remedy}".rstrip()},
        "locations": [{"physicalLocation": location}],
    }


def _problems(results: Sequence[Validation]) -> Iterator[Problem]:
    return (problem for result in results for problem in result.problems)


PRINTERS: Mapping[str, Callable[[Sequence[Validation]], Iterator[str]]] = {
    "json": _json,
    "github": _github,
    "sarif": _sarif,
}
"""The lines of each format."""
