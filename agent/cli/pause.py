"""``codedeploy-agent pause`` and ``resume``: new deployments wait while a person works on this host."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from agent.cli.option_types import duration, filled
from agent.cli.output import Writer, printable

if TYPE_CHECKING:
    from agent.store.layout import Layout


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Declare the options of one of the two commands."""
    if command == "pause":
        parser.add_argument(
            "--reason", type=filled, required=True, metavar="TEXT", help="the reason, which status shows"
        )
        parser.add_argument(
            "--for", dest="seconds", type=duration, metavar="TIME", help="when it ends by itself: 90s, 30m, 2h, 1d"
        )
    parser.add_argument("--config-file", metavar="PATH", help="the agent's configuration file")
    parser.add_argument("--config_file", dest="config_file", help=argparse.SUPPRESS)


def pause(options: argparse.Namespace) -> int:
    """Have new deployments wait; 0. Raises ConfigError, OSError, RootDirectoryError."""
    from agent.daemon.pause import Paused, write_pause
    from agent.filesystem.way import caller

    layout, now = _layout(options), time.time()
    until = now + options.seconds if options.seconds else 0.0
    paused = Paused(" ".join(options.reason.split()), now, until, caller())
    write_pause(layout, paused)
    out = Writer(1)
    out.line(printable(f"New deployments wait: the agent is paused {paused}"))
    for deployment in _going_on(layout):
        out.line(printable(f"{deployment} has begun here, and goes on."))
    out.line("codedeploy-agent resume takes new deployments on again.")
    return 0


def resume(options: argparse.Namespace) -> int:
    """End a pause; 0, also where there was none. Raises ConfigError, OSError."""
    from agent.daemon.pause import end_pause

    was_paused = end_pause(_layout(options))
    Writer(1).line("New deployments are taken on again." if was_paused else "The agent was not paused.")
    return 0


def _layout(options: argparse.Namespace) -> Layout:
    from agent.config.file import load
    from agent.runtime.host import layout_of
    from agent.runtime.own_directories import check_own_directories

    settings = load(options.config_file).settings
    check_own_directories(settings)
    return layout_of(settings)


def _going_on(layout: Layout) -> list[str]:
    """Return the deployments whose next event may come, or one of whose commands is in hand."""
    from agent.history.read import read_host

    history = read_host(layout, keep=1, measure=False)
    found = [one for group in history.groups for one in group.deployments if one.outcome in ("in progress", "waiting")]
    return [one.deployment for one in found if not one.is_local]
