"""The ``hooks`` section: the scripts of each lifecycle event."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from agent.appspec.model import Script
from agent.appspec.table import EVENTS, NOT_FOR_SCRIPTS, SCRIPT
from agent.appspec.values import fields, items_of, place_of_missing, text_of, whole_number
from agent.text.report import Remedy, Report, shown
from agent.text.scalars import describe, is_false, is_null, is_true
from agent.text.suggest import did_you_mean
from agent.text.yaml_tree import MapNode, Node, ScalarNode

KEYS = frozenset(SCRIPT)

# Events of the same lifecycle that belong to the agent or to the service; scripts are accepted and never run.
RESERVED_EVENTS = ("Start", "BlockTraffic", "DownloadBundle", "Install", "AllowTraffic", "End")

DEFAULT_TIMEOUT = 3600

# The service ends a lifecycle event after an hour, whatever its scripts may take.
EVENT_LIMIT = 3600

_SECTION_FORM = "Write a map from event names to lists of scripts."
_EVENT_FORM = "Write a list of scripts: each begins with '- location: ' and the script's path in the revision."


def parse_hooks(
    node: Node | None, report: Report, *, events: Collection[str] | None = None
) -> dict[str, tuple[Script, ...]]:
    """Read the section; ``None`` and false mean that there is none. Problems go into the report.

    ``events`` are those that a deployment has beside the standard ones: any other name is an error, which leaves the
    text usable. With None any name is taken, for what the deployment has is not known here.
    """
    if node is None or is_false(node):
        return {}
    if not isinstance(node, MapNode):
        report.error(node, f"The hooks section must be a map, but here is {describe(node)}.", _SECTION_FORM)
        return {}
    hooks = {}
    for name, (key, value) in node.entries.items():
        if name in RESERVED_EVENTS:
            report.warning(
                key,
                f"The event {name} runs no scripts; these will never run.",
                f"Events with scripts are {', '.join(EVENTS)}.",
            )
        elif events is not None and name not in EVENTS and name not in events:
            report.error(key, *unknown_event(name, (*EVENTS, *events)), usable=True)
        hooks[name] = _event(key, value, report)
    return hooks


def unknown_event(name: str, known: Sequence[str]) -> tuple[str, Remedy]:
    """Return what is wrong with an event that no deployment has, and what to do about it."""
    return (
        f"The lifecycle event {shown(name)} is unknown, so its scripts never run.",
        lambda: did_you_mean(name, known) or f"Known events: {', '.join(known)}.",
    )


def location_advice(location: str, is_there: Callable[[str], bool]) -> str:
    """Return what to write instead of a location that is not in the revision; empty where that is not known.

    ``is_there`` says whether a path is in the revision.
    """
    turned = re.sub(r"\\+", "/", location)
    if turned != location:
        return f"Write '/' for '\\'{f': {shown(turned)} is there' if is_there(turned.lstrip('/')) else ''}."
    program = location.split()[0].lstrip("/")
    if program != location.lstrip("/") and is_there(program):
        return f"A location takes no arguments: {shown(program)} is there. Add a script that calls it with them."
    if location.startswith("/"):
        return "A leading slash does not make it a path of the host: all scripts are in the revision. Add it there."
    return ""


def _event(key: ScalarNode, node: Node, report: Report) -> tuple[Script, ...]:
    if is_null(node) or is_false(node):
        return ()
    what = f"value of {shown(key.text)}"
    limits: list[int] = []
    scripts = [_script(item, key, limits, report) for item in items_of(node, what, _EVENT_FORM, report)]
    if sum(limits) > EVENT_LIMIT:
        report.warning(
            key,
            f"The timeouts of the scripts of {shown(key.text)} add up to {sum(limits)} seconds.",
            f"The service ends an event after {EVENT_LIMIT} seconds; set timeouts that fit into it.",
        )
    return tuple(script for script in scripts if script)


def _script(node: Node, event: ScalarNode, limits: list[int], report: Report) -> Script | None:
    if not isinstance(node, MapNode):
        report.error(node, f"A script of {shown(event.text)} is {describe(node)}.", _EVENT_FORM)
        return None
    found = fields(node, KEYS, "a script", report, elsewhere=NOT_FOR_SCRIPTS)
    location = _location(node, found.get("location"), report)
    timeout = _timeout(found.get("timeout"), report)
    if timeout is not None:
        limits.append(timeout)
    runas = text_of(found["runas"], "runas", report) if "runas" in found else None
    sudo = "sudo" in found and _truth(found["sudo"], report)
    if location is None:
        return None
    runas = (runas or "").strip() or None
    return Script(location, DEFAULT_TIMEOUT if timeout is None else timeout, runas, sudo, node.line + 1, found)


def _location(script: MapNode, node: Node | None, report: Report) -> str | None:
    text = "" if node is None else text_of(node, "location", report)
    if text is None:
        return None
    location = text.strip()
    if not location.strip("/"):
        report.error(
            node or place_of_missing(script, "location", KEYS, report),
            "This script has no location.",
            "Give the script's path in the revision.",
        )
        return None
    return location


def _timeout(node: Node | None, report: Report) -> int | None:
    """Read a time limit in seconds by the rules of 1.8.1; None where there is none, or after noting an error."""
    if node is None or is_false(node):
        return None
    number = None
    if isinstance(node, ScalarNode) and not is_true(node):
        number = whole_number(node)
    if number is None or number[0] <= 0:
        report.error(node, f"The timeout is {describe(node)}.", "Give a whole number of seconds greater than 0.")
        return None
    seconds, exact = number
    if not exact:
        report.warning(
            node, f"The timeout is {describe(node)}, which counts as {seconds} s.", "Give a whole number of seconds."
        )
    return seconds


def _truth(node: Node, report: Report) -> bool:
    """Read a truth value as 1.8.1 does: all but nothing and false is true; what is neither becomes a warning."""
    if is_false(node):
        return False
    if not is_true(node):
        report.warning(node, f"The value of sudo is {describe(node)}, which counts as true.", "Write true or false.")
    return True
