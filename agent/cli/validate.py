"""``codedeploy-agent validate``: every mistake in AppSpec files and their revisions, before anything is deployed."""

from __future__ import annotations

import argparse
import sys
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.cli.output import Writer
from agent.errors import AgentError, Problem
from agent.filesystem.reasons import place_and_reason, remedy_for

if TYPE_CHECKING:  # the command's help, manual and completions do without the YAML parser that this brings
    from agent.local.validation import Validation, ValidationRequest

VALID = 0
PROBLEMS = 1
UNREADABLE = 2

FORMATS = ("text", "json", "github", "sarif")

# Wider source lines are cut around the place they are shown for.
_WIDTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to a parser."""
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        default=["."],
        help="a revision's directory or archive (tar, tgz, zip), or an AppSpec file alone (default: this directory)",
    )
    parser.add_argument(
        "-A",
        "--appspec-filename",
        metavar="NAME",
        default="appspec.yml",
        help="AppSpec file in the revision (default: appspec.yml, else appspec.yaml)",
    )
    parser.add_argument(
        "--events", metavar="EVENT,...", default="", help="events that the deployment has beside the standard ones"
    )
    parser.add_argument(
        "--revision", action="store_true", help="take an AppSpec file for its directory, and check the revision there"
    )
    parser.add_argument(
        "--host", action="store_true", help="this is a host of the deployment: warn of users and programs it lacks"
    )
    parser.add_argument("--strict", action="store_true", help="end with 1 for warnings too")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text (the default), one JSON object, lines for GitHub's annotations, or SARIF",
    )
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of the AppSpec file for editors, and check nothing"
    )
    parser.epilog = (
        "Exit status: 0 valid (warnings are allowed without --strict), 1 errors were found, 2 something could not be"
        " checked."
    )


def run(arguments: argparse.Namespace) -> int:
    """Check what the arguments name and print what was found; return the exit status."""
    if arguments.schema:
        _print_schema()
        return VALID
    from agent.local.validation import ValidationRequest

    request = ValidationRequest(
        arguments.appspec_filename,
        events=tuple(event for event in arguments.events.split(",") if event),
        on_host=arguments.host,
        with_revision=arguments.revision,
    )
    results = [_validate(path, request) for path in arguments.paths]
    if arguments.format == "text":
        for result in results:
            _print_text(result)
    else:
        from agent.cli.validate_formats import PRINTERS  # not needed for text

        for line in PRINTERS[arguments.format](results):
            Writer(1).line(line)
    return max(_status(result, strict=arguments.strict) for result in results)


def _print_schema() -> None:
    import json  # not needed to check anything, as the next one

    from agent.appspec.schema import json_schema

    Writer(1).line(json.dumps(json_schema(), indent=2))


def _validate(path: str, request: ValidationRequest) -> Validation:
    """Return what was found at a path; one that cannot be read is a finding as well."""
    from agent.local.validation import Validation, validate_path

    try:
        return validate_path(path, request)
    except AgentError as error:
        problem = Problem(path, 0, 0, error.message, error.remedy)
    except OSError as error:
        problem = Problem(path, 0, 0, f"{place_and_reason(error)}.", remedy_for(error))
    return Validation(path, b"", (problem,), complete=True, readable=False)


def _status(result: Validation, *, strict: bool) -> int:
    if not result.readable:
        return UNREADABLE
    warned = strict and any(problem.severity == "warning" for problem in result.problems)
    return PROBLEMS if warned or not result.valid else VALID


def _print_text(result: Validation) -> None:
    if not result.readable:
        (problem,) = result.problems
        Writer(2).line(f"codedeploy-agent validate: {problem.message} {problem.remedy}".rstrip())
        return
    writer = Writer(1)
    source = result.data.decode("utf-8", "replace").removeprefix("\ufeff").splitlines() if sys.stdout.isatty() else []
    for problem in result.problems:
        writer.line(_problem_line(problem))
        if 0 < problem.line <= len(source):
            for line in _excerpt(source[problem.line - 1], problem.column):
                writer.line(line)
    writer.line(_summary(result))


def _problem_line(problem: Problem) -> str:
    place = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else problem.file
    return one_line(f"{place}: {problem.severity}: {problem.message} {problem.remedy}".rstrip())


def one_line(text: str) -> str:
    """Return a text as one line, whatever characters a file name brings along; bytes that are not UTF-8 stay."""
    return "".join(character if character.isprintable() or _is_byte(character) else "?" for character in text)


def _is_byte(character: str) -> bool:
    """Tell whether a character stands for a byte of a file name that is not UTF-8."""
    return "\udc80" <= character <= "\udcff"


def _excerpt(source: str, column: int) -> tuple[str, str]:
    """Return a line of the source and a caret below the column; column 1 stands for the line's first word."""
    if column == 1:
        column = len(source) - len(source.lstrip()) + 1
    start = max(0, column - 1 - _WIDTH // 2) if len(source) > _WIDTH else 0
    cut = "".join(character if character.isprintable() else " " for character in source[start : start + _WIDTH])
    return f"    {cut}", f"    {' ' * _cells(cut[: column - 1 - start])}^"


def _cells(text: str) -> int:
    """Return how many cells of a terminal a text takes: two for a wide character, none for one that joins another."""
    return sum(
        0 if unicodedata.category(character) in ("Mn", "Me") else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def _summary(result: Validation) -> str:
    verdict = f"{result.file}: {'valid' if result.valid else 'not valid'}"
    counts = _counts(result.problems)
    text = (
        f"{verdict}, {' and '.join(filter(None, (', '.join(counts[:-1]), counts[-1])))}." if counts else f"{verdict}."
    )
    if not result.complete:
        text += " Only this file was checked; give the revision's directory or archive to check the rest."
    return text


def _counts(problems: Sequence[Problem]) -> list[str]:
    """Return how many problems of each severity there are, in words."""
    found = [(severity, sum(p.severity == severity for p in problems)) for severity in ("error", "warning", "note")]
    return [f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in found if count]
