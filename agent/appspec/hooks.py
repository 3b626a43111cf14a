"""The ``hooks`` section: the scripts of each lifecycle event."""

from __future__ import annotations

from agent.appspec.model import Script
from agent.appspec.report import Report, shown
from agent.appspec.suggest import did_you_mean
from agent.appspec.values import (
    describe,
    fields,
    is_false,
    is_null,
    is_true,
    items_of,
    place_of_missing,
    text_of,
    whole_number,
)
from agent.appspec.yaml_tree import MapNode, Node, ScalarNode

KEYS = frozenset({"location", "timeout", "runas", "sudo"})

# The events whose scripts a server deployment runs, in their order.
EVENTS = (
    "BeforeBlockTraffic",
    "AfterBlockTraffic",
    "ApplicationStop",
    "BeforeInstall",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
    "BeforeAllowTraffic",
    "AfterAllowTraffic",
)

# Events of the same lifecycle that belong to the agent or to the service; scripts are accepted and never run.
RESERVED_EVENTS = ("Start", "BlockTraffic", "DownloadBundle", "Install", "AllowTraffic", "End")

DEFAULT_TIMEOUT = 3600

# The service ends a lifecycle event after an hour, whatever its scripts may take.
EVENT_LIMIT = 3600

_SECTION_FORM = "Write a map from event names to lists of scripts."
_EVENT_FORM = "Write a list of scripts: each begins with '- location: ' and the script's path in the revision."


def parse_hooks(node: Node | None, report: Report) -> dict[str, tuple[Script, ...]]:
    """Read the section; ``None`` and false mean that there is none. Problems go into the report.

    Any event name is allowed, for a deployment may have events of its own; a name that is not in the standard
    lifecycle becomes a warning.
    """
    if node is None or is_false(node):
        return {}
    if not isinstance(node, MapNode):
        report.error(node, f"The hooks section must be a map, but here is {describe(node)}.", _SECTION_FORM)
        return {}
    hooks = {}
    for name, (key, value) in node.entries.items():
        _warn_of_name(key, report)
        hooks[name] = _event(key, value, report)
    return hooks


def _warn_of_name(key: ScalarNode, report: Report) -> None:
    name = key.text
    if name in EVENTS:
        return
    if name in RESERVED_EVENTS:
        report.warning(
            key,
            f"The event {name} runs no scripts; these will never run.",
            f"Events with scripts are {', '.join(EVENTS)}.",
        )
        return
    report.warning(
        key,
        f"{shown(name)} is no standard lifecycle event; its scripts run only where a deployment names it.",
        lambda: did_you_mean(name, EVENTS) or f"Events with scripts are {', '.join(EVENTS)}.",
    )


def _event(key: ScalarNode, node: Node, report: Report) -> tuple[Script, ...]:
    if is_null(node) or is_false(node):
        return ()
    what = f"value of {shown(key.text)}"
    limits: list[int] = []
    scripts = [_script(item, key, limits, report) for item in items_of(node, what, _EVENT_FORM, report)]
    if sum(limits) > EVENT_LIMIT:
        report.warning(
            key,
            f"The time limits of the scripts of {shown(key.text)} add up to {sum(limits)} seconds.",
            f"The service ends an event after {EVENT_LIMIT} seconds; give limits that fit into it.",
        )
    return tuple(script for script in scripts if script)


def _script(node: Node, event: ScalarNode, limits: list[int], report: Report) -> Script | None:
    if not isinstance(node, MapNode):
        report.error(node, f"A script of {shown(event.text)} is {describe(node)}.", _EVENT_FORM)
        return None
    found = fields(node, KEYS, "a script", report)
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
