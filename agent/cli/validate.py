"""``codedeploy-agent validate``: every mistake in an AppSpec file and its revision, before anything is deployed."""

from __future__ import annotations

import argparse
import os
import sys
import unicodedata
from collections.abc import Sequence

from agent.cli.output import Writer
from agent.errors import AgentError, Problem
from agent.worker.validation import Validation, validate_path

VALID = 0
PROBLEMS = 1
UNREADABLE = 2

# Wider source lines are cut around the place they are shown for.
_WIDTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to a parser."""
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        default=".",
        help="a revision's folder or archive (tar, tgz, zip), or an AppSpec file alone (default: this folder)",
    )
    parser.add_argument(
        "-A",
        "--appspec-filename",
        metavar="NAME",
        default="appspec.yml",
        help="AppSpec file in the revision (default: appspec.yml, else appspec.yaml)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.epilog = "Exit status: 0 valid (warnings are allowed), 1 errors were found, 2 nothing could be checked."


def run(arguments: argparse.Namespace) -> int:
    """Check what the arguments name and print what was found; give the exit status."""
    try:
        result = validate_path(arguments.path, arguments.appspec_filename)
    except AgentError as error:
        return _report_unreadable(arguments, error.message, error.remedy)
    except OSError as error:
        place = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
        return _report_unreadable(arguments, f"{error.strerror or error}{place}", "")
    if arguments.json:
        _print_document(result.valid, result.file, result.problems)
    else:
        _print_text(result)
    return VALID if result.valid else PROBLEMS


def _report_unreadable(arguments: argparse.Namespace, message: str, remedy: str) -> int:
    if arguments.json:
        _print_document(False, arguments.path, [Problem(arguments.path, 0, 0, message, remedy)])
    else:
        Writer(2).line(f"codedeploy-agent validate: {message} {remedy}".rstrip())
    return UNREADABLE


def _print_document(valid: bool, file: str, problems: Sequence[Problem]) -> None:
    import json  # not needed for text

    document = {"valid": valid, "file": file, "problems": [problem._asdict() for problem in problems]}
    Writer(1).line(json.dumps(document, indent=2))


def _print_text(result: Validation) -> None:
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
    text = f"{place}: {problem.severity}: {problem.message} {problem.remedy}".rstrip()
    # One problem is one line, whatever characters a file name brings along.
    return "".join(character if character.isprintable() or _is_byte(character) else "?" for character in text)


def _is_byte(character: str) -> bool:
    """Tell whether a character stands for a byte of a file name that is not UTF-8."""
    return "\udc80" <= character <= "\udcff"


def _excerpt(source: str, column: int) -> tuple[str, str]:
    """Give a line of the source and a caret below the column; column 1 stands for the line's first word."""
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
    counts = []
    for severity in ("error", "warning"):
        count = sum(problem.severity == severity for problem in result.problems)
        if count:
            counts.append(f"{count} {severity}{'' if count == 1 else 's'}")
    verdict = f"{result.file}: {'valid' if result.valid else 'not valid'}"
    text = f"{verdict}, {' and '.join(counts)}." if counts else f"{verdict}."
    if not result.complete:
        text += " Only this file was checked; give the revision's folder or archive to check the rest."
    return text
