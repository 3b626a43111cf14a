"""``codedeploy-agent doctor``: what is wrong with the set-up of this host, and how to repair it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from agent.cli.option_types import filled
from agent.cli.output import Writer, printable
from agent.errors import UsageError

if TYPE_CHECKING:
    from agent.doctor.examination import Examined
    from agent.doctor.finding import Check, Result
    from agent.doctor.subject import Subject

STATUSES = {"pass": 0, "warn": 1, "fail": 2}
"""The exit status for the worst result."""

_COLOURS = {"pass": "32", "warn": "33", "fail": "31", "skip": "2"}
_UNLIMITED = 1 << 20
_NARROWEST = 24  # columns for a finding, whatever the terminal is
_EPILOG = """\
Exit status: 0 nothing is wrong, 1 there are warnings, 2 a check has failed, 64 the command line is wrong. With
--bundle: 0 it is written, 1 it is not. Run this as root: another user does not see everything, and such a check is
skipped. docs/doctor.md explains each check.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.epilog = _EPILOG
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--fix", action="store_true", help="repair what is safe (modes, stale files, the log directory), and say so"
    )
    parser.add_argument(
        "--bundle",
        metavar="FILE",
        type=filled,
        help="write a support bundle (tar.gz): findings, configuration, logs and records, without secrets",
    )
    parser.add_argument("--config-file", metavar="PATH", help="the agent's configuration file")
    parser.add_argument("--config_file", dest="config_file", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Examine the host and print what was found; the status of the worst result. Raises UsageError, OSError."""
    from agent import logs
    from agent.doctor.subject import Subject

    if options.bundle and (options.json or options.fix):
        raise UsageError("--bundle goes with neither --json nor --fix.", remedy="Run doctor --fix first.")
    logs.set_up(None, program_name="codedeploy-agent")  # a warning is a finding, or not worth a line here
    subject = Subject(options.config_file)
    if options.bundle:
        return _write_bundle(subject, options.bundle)
    from agent.doctor.examination import document, examine, repair, worst
    from agent.doctor.table import CHECKS

    examined = examine(subject, CHECKS)
    repaired = repair(subject, examined) if options.fix else []
    if repaired:
        subject = Subject(options.config_file)
        changed = {check.number for check, _ in repaired}
        again = {one.check.number: one for one in examine(subject, [c for c in CHECKS if c.number in changed])}
        examined = [again.get(one.check.number, one) for one in examined]
    out = Writer(1)
    if options.json:
        out.line(json.dumps(document(examined, repaired), indent=2))
    else:
        for line in lines(examined, repaired, columns=_columns(), colours=_has_colours()):
            out.line(line)
    return STATUSES[worst(examined).value]


def lines(
    examined: Sequence[Examined], repaired: Sequence[tuple[Check, str]], *, columns: int, colours: bool
) -> Iterator[str]:
    """Yield the findings as lines of at most so many columns, then the repairs, then the sum."""
    names = max(len(one.check.name) for one in examined)
    for check, finding, _ in examined:
        head = f"{finding.result.value.upper()} {check.number:>2} {check.name:<{names}}  "
        indent = " " * len(head)
        width = max(columns - len(head), _NARROWEST)
        rows = _wrapped(finding.text, width)
        mark = _coloured(finding.result, colours)
        yield mark + head[len(finding.result.value) :] + rows[0]
        yield from (indent + row for row in rows[1:])
        if finding.remedy:
            yield from (indent + row for row in _wrapped(f"> {finding.remedy}", width, hanging="  "))
    for check, text in repaired:
        yield printable(f"FIXED {check.name}: {text}")
    yield _sum(examined)


def _wrapped(text: str, width: int, *, hanging: str = "") -> list[str]:
    rows = []
    for line in printable(text).splitlines():
        rows += textwrap.wrap(line, width, subsequent_indent=hanging, break_on_hyphens=False) or [""]
    return rows or [""]


def _coloured(result: Result, colours: bool) -> str:
    word = result.value.upper()
    return f"\033[{_COLOURS[result.value]}m{word}\033[0m" if colours else word


def _sum(examined: Sequence[Examined]) -> str:
    counts = {word: sum(one.finding.result.value == word for one in examined) for word in _COLOURS}
    text = f"{len(examined)} checks: {counts['pass']} passed, {counts['warn']} warned, {counts['fail']} failed"
    skipped = f", {counts['skip']} skipped" if counts["skip"] else ""
    return f"{text}{skipped}."


def _columns() -> int:
    """Return the width of the terminal; what goes into a pipe has a line for each finding."""
    return shutil.get_terminal_size().columns if os.isatty(1) else _UNLIMITED


def _has_colours() -> bool:
    return os.isatty(1) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _write_bundle(subject: Subject, path: str) -> int:
    from agent.doctor.bundle import write_bundle
    from agent.doctor.examination import examine
    from agent.doctor.table import CHECKS

    members = write_bundle(subject, examine(subject, CHECKS), path)
    out = Writer(1)
    for member in members:
        out.line(printable(f"{len(member.text):>9}  {member.removed:>4} removed  {member.name}"))
    total = sum(member.removed for member in members)
    out.line(
        f"{path}: {len(members)} files. {total} secrets were removed; a second search of every file found none. The"
        " bundle names hosts, paths and deployments: read it before you send it."
    )
    return 0
