"""``codedeploy-agent traffic``: see whether this host is in service, take it out by hand, and put it back."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from agent.cli.output import Writer, printable
from agent.config.file import load
from agent.config.settings import Settings
from agent.errors import AgentError, UsageError
from agent.runtime.host import layout_of
from agent.runtime.own_directories import check_own_directories
from agent.runtime.traffic_access import local_access
from agent.store.directories import make_state_directory
from agent.text.times import stamp
from agent.traffic.control import TrafficControl
from agent.traffic.errors import TrafficError
from agent.traffic.policy import policy_of
from agent.traffic.record import Records, TrafficRecord
from agent.traffic.report import is_shown, outage, outage_line

OUT = 3
"""Exit status of ``status`` for a host that is out of service because of this agent."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the three actions and their options."""
    parser.add_argument("action", choices=("status", "block", "allow"), help="what to do")
    parser.add_argument("group", nargs="?", help="a deployment group's name (all that traffic_control names)")
    parser.add_argument("--reason", default="", metavar="TEXT", help="block: why, for whoever asks later")
    parser.add_argument(
        "--force", action="store_true", help="block: also the last healthy host; allow: also during a deployment"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--config-file", metavar="PATH", help="the agent's configuration file")
    parser.add_argument("--config_file", dest="config_file", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Do what was asked for each group; 0, ``OUT`` for the status of a host that is out, 1 where something failed.

    Raises UsageError for a group that is not named, AgentError where none is, ConfigError, OSError.
    """
    settings = load(options.config_file).settings
    check_own_directories(settings)
    layout = layout_of(settings)
    records = Records(layout.traffic)
    readable, damaged = records.all()
    names = _groups(options.group, settings, readable, complete=not damaged)
    if options.action != "status":
        make_state_directory(layout, layout.traffic)
    out = Writer(2 if options.json else 1)

    def say(text: str) -> None:
        out.line(printable(text))

    found = [_one(options, settings, records, name, say) for name in names]
    if options.group is None:
        found += _unnamed(damaged, found, say)
    if options.json:
        Writer(1).line(json.dumps({"groups": found}, indent=2))
    if any(row["error"] for row in found):
        return 1
    return OUT if options.action == "status" and any(row["outage"] for row in found) else 0


def _groups(asked_for: str | None, settings: Settings, readable: list[TrafficRecord], *, complete: bool) -> list[str]:
    """The groups that are meant: also one that is still out and no longer named."""
    named = list((settings.traffic_control or {}).get("groups", {}))
    known = [*named, *(one.group_name for one in readable if is_shown(one) and one.group_name not in named)]
    if asked_for is None and (known or not complete):
        return known
    if asked_for in known:
        return [str(asked_for)]
    remedy = f"It names {', '.join(known)}." if known else "See docs/traffic.md for how to set it up."
    if asked_for:
        raise UsageError(
            f'The setting traffic_control does not name the deployment group "{asked_for}".', remedy=remedy
        )
    raise AgentError(
        "The setting traffic_control names no deployment group,"
        " and this host has not been taken out of any load balancer.",
        remedy=remedy,
    )


def _row(name: str | None, error: str | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"group": name, "outage": None, "places": [], "last_out_seconds": None, "last_back_at": None}
    return row | {"error": error}


def _unnamed(
    damaged: list[TrafficError], found: list[dict[str, Any]], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return a row for each damaged record that no listed group has reported."""
    told = {row["error"] for row in found}
    rows = [_row(None, str(error)) for error in damaged if str(error) not in told]
    for row in rows:
        say(row["error"])
    return rows


def _one(
    options: argparse.Namespace, settings: Settings, records: Records, name: str, say: Callable[[str], None]
) -> dict[str, Any]:
    row = _row(name)
    control = None
    try:
        control = _control(name, settings, records, say)
        _act(options, control, name, say)
    except AgentError as error:
        row["error"] = str(error)
        say(f"{name}: {error}")
    try:
        record = records.read(name)
    except TrafficError as error:
        row["error"], record = str(error), None
    if record is not None:
        row["last_out_seconds"] = round(record.seconds_out, 1) if record.back_at else None
        row["last_back_at"] = record.back_at or None
        if is_shown(record):
            row["outage"] = outage(record)
    if options.action == "status":
        _show(row, record, say)
        if control is not None:
            _ask_balancers(control, row, say)
    return row


def _act(options: argparse.Namespace, control: TrafficControl, name: str, say: Callable[[str], None]) -> None:
    if options.action == "block":
        control.block_by_hand(_reason(options.reason), force=options.force)
    elif options.action == "allow" and not control.allow_by_hand(force=options.force):
        say(f"{name}: this agent has not taken this host out of any load balancer; there is nothing to put back.")


def _control(name: str, settings: Settings, records: Records, say: Callable[[str], None]) -> TrafficControl:
    policy = policy_of(settings.traffic_control, name)
    record = records.read(name)
    if policy is None and record is not None:
        policy = record.policy
    if policy is None:
        raise UsageError(f'The setting traffic_control does not name the deployment group "{name}".')
    return TrafficControl(name, policy, records, local_access(settings, policy), tell=say)


def _show(row: dict[str, Any], record: TrafficRecord | None, say: Callable[[str], None]) -> None:
    if row["outage"]:
        say(outage_line(row["outage"]))
    elif record is not None and record.back_at:
        say(f"Traffic of {row['group']}: last out for {record.seconds_out:.1f} s, until {stamp(record.back_at)}")
    elif record is not None or not row["error"]:
        say(f"Traffic of {row['group']}: this agent has not taken this host out.")


def _ask_balancers(control: TrafficControl, row: dict[str, Any], say: Callable[[str], None]) -> None:
    """What the balancers themselves say; where they cannot be asked, that is told and the rest still counts."""
    try:
        for place, text in control.survey():
            row["places"].append({"place": place, "state": text})
            say(f"  {place}: {text}")
    except AgentError as error:
        row["error"] = str(error)
        say(f"  {error}")


def _reason(text: str) -> str:
    return f"taken out by hand: {text}" if text else "taken out by hand"
