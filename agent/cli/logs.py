"""``codedeploy-agent logs``: the logs of the agent and of scripts as one stream, in the order of time."""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from agent.cli.output import Writer, printable

if TYPE_CHECKING:
    from agent.logview.entries import Entry
    from agent.logview.stream import Choice

FOLLOWED_SINCE = 600.0
"""Seconds of history that ``--follow`` shows first, where neither ``--since`` nor ``--deployment`` is given."""

_LEVELS = ("debug", "info", "warn", "error")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?)?(Z?)")
_AT_ONCE = 64 * 1024
_COLOURS = {"ERROR": "31", "WARN": "33", "stderr": "33", "header": "1", "ids": "36"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written, until it is stopped")
    parser.add_argument("--deployment", default="", metavar="ID", help="only this deployment")
    parser.add_argument("--group", default="", metavar="ID", help="only this deployment group, by its id")
    parser.add_argument("--event", default="", metavar="EVENT", help="only this lifecycle event")
    parser.add_argument("--level", choices=_LEVELS, default="debug", help="only this level and those above it")
    parser.add_argument(
        "--since", type=_moment, metavar="TIME", help="only since then: 10m, 2h, 1d ago, or 2026-11-23T05:13 local time"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--agent", action="store_true", help="only what the agent and codedeploy-local log")
    only.add_argument("--scripts", action="store_true", help="only what scripts print")
    parser.add_argument("--config-file", metavar="PATH", help="the agent's configuration file")
    parser.add_argument("--config_file", dest="config_file", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Print the entries; 0, or 1 where a log could not be read. Raises KeyboardInterrupt while it follows."""
    from agent.config.file import load_usable
    from agent.logview.stream import Stream
    from agent.runtime.host import layout_of

    settings, _ = load_usable(options.config_file)
    unreadable: list[str] = []

    def complain(error: OSError) -> None:
        unreadable.append(str(error.filename))
        advice = " Run the command as root." if isinstance(error, PermissionError) and os.geteuid() else ""
        Writer(2).line(f"codedeploy-agent: {error.filename} cannot be read: {error.strerror}.{advice}")

    stream = Stream(layout_of(settings), settings.log_dir, _choice(options), complain)
    render = _json if options.json else _renderer(colour=_wants_colour())
    try:
        if options.follow:
            for batch in stream.follow():
                _print(batch, render)
        else:
            shown = _print(stream.history(), render)
            if not shown and (options.deployment or options.group or options.event):
                Writer(2).line("codedeploy-agent: no line has what was asked for; see codedeploy-agent deployments.")
    except BrokenPipeError:  # the reader, such as head, has had enough
        return 0
    return 1 if unreadable else 0


def _choice(options: argparse.Namespace) -> Choice:
    from agent.logview.stream import Choice

    since: float = options.since or 0.0
    if options.follow and options.since is None and not options.deployment:
        since = time.time() - FOLLOWED_SINCE
    return Choice(
        deployment=options.deployment,
        group=options.group,
        event=options.event,
        level=options.level.upper(),
        since=since,
        agent=not options.scripts,
        scripts=not options.agent,
    )


def _moment(text: str) -> float:
    """Return the time that a text means, in seconds since the epoch. Raises ArgumentTypeError."""
    if re.fullmatch(r"\d{1,9}[smhd]", text):
        return time.time() - int(text[:-1]) * _UNITS[text[-1]]
    found = _ISO.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither an age such as 10m, 2h or 1d nor a time: 2026-11-23T05:13"
        )
    stamp = f"{found[1]} {found[2] or '00:00'}{found[3] or ':00'}"
    try:
        parsed = time.strptime(stamp, "%Y-%m-%d %H:%M:%S")
        if found[4]:
            import calendar

            return float(calendar.timegm(parsed))
        return time.mktime(parsed)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: {error}") from error


def _wants_colour() -> bool:
    return os.isatty(1) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _print(entries: Iterable[Entry], render: Callable[[Entry], str]) -> bool:
    """Write entries in large pieces; return whether there are any. Raises BrokenPipeError where the reader is gone."""
    lines: list[bytes] = []
    size, found = 0, False
    for entry in entries:
        found = True
        lines.append(render(entry).encode("utf-8", "surrogateescape"))
        size += len(lines[-1])
        if size > _AT_ONCE:
            _write(b"".join(lines))
            lines, size = [], 0
    _write(b"".join(lines))
    return found


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


def _renderer(*, colour: bool) -> Callable[[Entry], str]:
    """Return what makes a line of an entry: time, level, deployment and event, text."""

    def paint(text: str, kind: str) -> str:
        code = _COLOURS.get(kind)
        return f"\x1b[{code}m{text}\x1b[0m" if colour and code and text else text

    def render(entry: Entry) -> str:
        label, kind = entry.level, entry.level
        if entry.source == "script":
            kind = entry.stream or "header"
            label = {"stdout": "out", "stderr": "err"}.get(entry.stream, "--")
        event = "" if entry.text.startswith(f"{entry.event} ") else entry.event
        ids = " ".join(filter(None, (entry.deployment, event)))
        ids = f"{paint(ids, 'ids')}: " if ids else ""
        text = entry.text if entry.text.isprintable() else printable(entry.text)
        return f"{_stamp(entry.time)} {paint(f'{label:<5}', kind)} {ids}{paint(text, kind)}\n"

    return render


def _json(entry: Entry) -> str:
    fields = {name: value for name, value in entry._asdict().items() if value and name not in ("time", "rank", "text")}
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.time))
    text = entry.text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return json.dumps({"time": stamp, **fields, "message": text}) + "\n"


_stamped = (0, "")


def _stamp(moment: float) -> str:
    global _stamped
    if _stamped[0] != int(moment):
        _stamped = int(moment), time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    return _stamped[1]
