"""``codedeploy-agent status``: whether the agent is running, what it does, and whether it is well."""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

from agent.cli.output import Writer, printable
from agent.cli.status_text import check_line, lines, unknown_line
from agent.config.file import load_usable
from agent.daemon.document import document
from agent.daemon.health import Finding, judge, level_of
from agent.daemon.pidfile import PidFileError
from agent.errors import AgentError
from agent.filesystem.reasons import place_and_reason

DEAD, NOT_RUNNING, UNKNOWN = 1, 3, 4
"""Exit statuses for an agent that does not run, as the LSB has them: with a pid file, without one, cannot be told."""

CHECK_UNKNOWN = 3
"""Exit status of ``--check`` where that cannot be told, as monitoring plugins have it."""

_EVERY = 1.0
"""Seconds between two looks of ``--watch``."""

_DISK_EVERY = 60.0
"""Seconds between two of them at the disk, which takes longer."""

_VOLATILE = ("elapsed", "last_poll", "last_success", "round_trip", "status_file", "resources", "disk", "credentials")
"""What changes all the time, and is no reason for ``--watch`` to print once more where there is no terminal."""


class _UnknownError(AgentError):
    """It cannot be told whether an agent runs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--config-file", metavar="PATH", help="the agent's configuration file")
    parser.add_argument("--config_file", dest="config_file", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="print it again every second, until Ctrl-C")
    how.add_argument("--check", action="store_true", help="print one line for monitoring, with performance data")
    parser.epilog = (
        "Exit status: 0 running, 1 not running although there is a pid file, 3 not running, 4 it cannot be told. With"
        " --check: 0 well, 1 a warning, 2 critical, 3 it cannot be told."
    )


def run(options: argparse.Namespace) -> int:
    """Print the status; the exit status says the most important of it."""
    try:
        if options.check:
            return _check(options)
        if options.watch:
            return _watch(options)
        found, findings = _look(options)
    except _UnknownError as error:
        if options.check:
            Writer(1).line(unknown_line(str(error)))
            return CHECK_UNKNOWN
        Writer(2).line(f"codedeploy-agent: {error}")
        return UNKNOWN
    out = Writer(1)
    out.data(_json(found, findings, indent=2) if options.json else _text(found, findings))
    return _exit_status(found)


def _look(options: argparse.Namespace, disk: dict[str, Any] | None = None) -> tuple[dict[str, Any], list[Finding]]:
    settings, wrong = load_usable(options.config_file)
    try:
        found = document(settings, disk=disk)
    except (PidFileError, OSError) as error:
        why = str(error)
        if isinstance(error, OSError):
            why = f"{place_and_reason(error)}. Ask as the user that runs the agent."
        raise _UnknownError(f"It cannot be told whether the agent is running. {why}") from error
    if wrong is not None and not found["running"]:
        raise _UnknownError(f"It cannot be told whether the agent is running: its configuration is wrong. {wrong}")
    return found, judge(found, time.time())


def _exit_status(found: dict[str, Any]) -> int:
    if found["running"]:
        return 0
    return DEAD if found["state"] == "dead" else NOT_RUNNING


def _check(options: argparse.Namespace) -> int:
    found, findings = _look(options)
    out = Writer(1)
    out.data(_json(found, findings) if options.json else _line(check_line(found, findings, time.time())))
    return int(level_of(findings))


def _watch(options: argparse.Namespace) -> int:
    out, is_screen = Writer(1), os.isatty(1) and not options.json
    found: dict[str, Any] = {}
    before, disk_due = b"", 0.0
    try:
        while not out.is_closed:
            if time.monotonic() >= disk_due:
                found, disk_due = {}, time.monotonic() + _DISK_EVERY
            found, findings = _look(options, disk=found.get("disk"))
            steady = _json({name: value for name, value in found.items() if name not in _VOLATILE}, [])
            if is_screen:
                out.data(_screen(_text(found, findings)))
            elif steady != before:
                out.data(_json(found, findings) if options.json else _text(found, findings) + b"\n")
            before = steady
            time.sleep(_EVERY)
    except KeyboardInterrupt:
        return 0
    return _exit_status(found)


def _screen(text: bytes) -> bytes:
    """Return what draws a text over the one before; what does not fit into the terminal is left out."""
    rows = text.splitlines()[: max(_terminal().lines - 1, 1)]
    return b"\x1b[H" + b"".join(row + b"\x1b[K\n" for row in rows) + b"\x1b[J"


def _json(found: dict[str, Any], findings: list[Finding], *, indent: int | None = None) -> bytes:
    whole = {**found, "findings": [finding.as_json() for finding in findings]}
    return _line(json.dumps(whole, indent=indent))


def _text(found: dict[str, Any], findings: list[Finding]) -> bytes:
    text = [printable(line) for line in lines(found, findings, time.time())]
    return b"".join(_line(row) for line in text for row in _rows(line))


def _rows(line: str) -> list[str]:
    """Divide a line between words where a terminal is narrower; programs get it whole."""
    if not os.isatty(1):
        return [line]
    import textwrap

    width = max(_terminal().columns - 1, 20)
    return textwrap.wrap(line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False) or [""]


def _terminal() -> os.terminal_size:
    import shutil

    return shutil.get_terminal_size((80, 24))


def _line(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape") + b"\n"
