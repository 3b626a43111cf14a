"""The nested setting ``traffic_control``: from YAML nodes to one complete mapping for each deployment group.

Every problem is told with its line. What comes out is plain (texts, numbers, lists, mappings), because workers are
handed their settings as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from agent.config.kinds import SECONDS, URL, Kind, Raw, choice
from agent.text.report import Report, shown
from agent.text.scalars import as_written, is_null, value_of
from agent.text.suggest import did_you_mean
from agent.text.yaml_tree import ListNode, MapNode, Node, ScalarNode, entries_of

LARGEST = 32 * 1024
"""Characters of the setting as JSON; workers are handed it through a pipe, which takes 64 KiB at once."""

_BLOCK_EVENTS = ("ApplicationStop", "DownloadBundle", "BeforeInstall", "Install")
_ALLOW_EVENTS = ("Install", "AfterInstall", "ApplicationStart", "ValidateService")


def _to_text(raw: Raw) -> str:
    if isinstance(raw, int) and not isinstance(raw, bool):
        raw = str(raw)
    if not isinstance(raw, str) or not raw.strip() or not raw.isprintable():
        raise ValueError
    return raw


def _to_texts(raw: Raw) -> list[str]:
    if not isinstance(raw, list) or not raw:
        raise ValueError
    return [_to_text(part) for part in raw]


def _to_texts_or_all(raw: Raw) -> list[str] | str:
    return "all" if raw == "all" else _to_texts(raw)


def _to_whole(raw: Raw) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or raw < 0:
        raise ValueError
    return raw


def _to_sockets(raw: Raw) -> list[str]:
    found = _to_texts(raw)
    if not all(
        text.startswith("/") or re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:/\s]+):[0-9]{1,5}", text) for text in found
    ):
        raise ValueError
    return found


def _to_servers(raw: Raw) -> list[str]:
    found = _to_texts(raw)
    if not all(re.fullmatch(r"[^/\s;]+/[^/\s;]+", text) for text in found):
        raise ValueError
    return found


def _to_command(raw: Raw) -> list[str]:
    words = _to_texts(raw)
    if not words[0].startswith("/"):
        raise ValueError
    return words


TEXT = Kind("text", "a text", _to_text)
TEXTS = Kind("list", "a list of texts, at least one", _to_texts)
TEXTS_OR_ALL = Kind("list", 'a list of names or ARNs, or "all"', _to_texts_or_all)
WHOLE = Kind("number", "a whole number, 0 or more", _to_whole)
SOCKETS = Kind("list", "a list of socket paths such as /run/haproxy/admin.sock, or HOST:PORT", _to_sockets)
SERVERS = Kind("list", "a list of BACKEND/SERVER", _to_servers)
COMMAND = Kind("command", "a list of the words of a command, the first a full path", _to_command)


class _Key(NamedTuple):
    """A key of a mapping: its kind and default; one that is required has none."""

    kind: Kind
    default: object = None
    required: bool = False


_POLICY = {
    "on_failure": _Key(choice("stay_out", "put_back"), "stay_out"),
    "minimum_healthy": _Key(WHOLE, 1),
    "block_before": _Key(choice(*_BLOCK_EVENTS), "ApplicationStop"),
    "allow_after": _Key(choice(*_ALLOW_EVENTS), "ValidateService"),
    "drain_seconds": _Key(SECONDS),
    "healthy_seconds": _Key(SECONDS),
    "time_limit_seconds": _Key(SECONDS, 1800),
    "abandoned_after_seconds": _Key(SECONDS, 4500),
}

_AWS = {"region": _Key(TEXT), "endpoint": _Key(URL)}

_PROVIDERS: dict[str, dict[str, _Key]] = {
    "elbv2": {"target_groups": _Key(TEXTS_OR_ALL, required=True), "target_ids": _Key(TEXTS), **_AWS},
    "elb": {"load_balancers": _Key(TEXTS, required=True), "instance_id": _Key(TEXT), **_AWS},
    "haproxy": {"sockets": _Key(SOCKETS, required=True), "servers": _Key(SERVERS, required=True)},
    "command": {
        "name": _Key(TEXT, "command"),
        "block": _Key(COMMAND, required=True),
        "allow": _Key(COMMAND, required=True),
        "status": _Key(COMMAND),
        "drained": _Key(COMMAND),
        "healthy": _Key(COMMAND),
        "command_seconds": _Key(SECONDS, 60),
    },
}


def read_traffic(node: Node, report: Report) -> dict[str, Any]:
    """Return the setting as ``{"groups": {NAME: {"providers": [...], and every key of the policy}}}``.

    Every problem goes into the report; what is returned counts only if there was none.
    """
    return _Reader(report).read(node)


class _Reader:
    """Walks the mapping; nothing is raised for what somebody has written."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._error = report.error

    def read(self, node: Node) -> dict[str, Any]:
        entries = self._entries(node, "traffic_control", {*_POLICY, "providers", "groups"})
        shared = self._policy(entries)
        if "groups" not in entries:
            self._error(node, "traffic_control has no groups.", "Name the deployment groups that it is to act for.")
            return {}
        groups = self._groups(entries["groups"])
        found = {"groups": {name: self._group(name, *nodes, shared) for name, nodes in groups.items()}}
        if len(json.dumps(found)) > LARGEST:
            self._error(node, "traffic_control is too long.", f"At most {LARGEST} characters once it is spelled out.")
        return found

    def _groups(self, node: Node) -> dict[str, tuple[Node, Node | None]]:
        """Return the node of each group's name and that of its own settings, None where it has none."""
        found: dict[str, tuple[Node, Node | None]] = {}
        pairs: list[tuple[Node, Node | None]] = []
        if isinstance(node, MapNode):
            pairs = [(key, None if is_null(value) else value) for key, value in node.entries.values()]
        elif isinstance(node, ListNode):
            pairs = [(key, None) for key in node.items]
        for key, value in pairs:
            name = value_of(key)
            if not isinstance(name, str) or not name.strip():
                message = "This is not the name of a deployment group."
                self._error(key, message, "Write its name; put a number in quotes.")
            elif name in found:
                self._error(key, f"The group {shown(name)} stands here twice.", "Leave one out.")
            else:
                found[name] = (key, value)
        if not pairs:
            remedy = "Expected a list of deployment group names, or a mapping of them."
            self._error(node, "groups names none.", remedy)
        return found

    def _group(self, name: str, key: Node, node: Node | None, shared: Mapping[str, Any]) -> dict[str, Any]:
        values = dict(shared)
        if node is not None:
            values |= self._policy(self._entries(node, f"The group {shown(name)}", {*_POLICY, "providers"}))
        if "providers" not in values:
            self._error(key, f"The group {shown(name)} has no providers.", "Name them for it, or for all groups.")
        return {field: row.default for field, row in _POLICY.items()} | values

    def _policy(self, entries: Mapping[str, Node]) -> dict[str, Any]:
        values = self._values({key: node for key, node in entries.items() if key in _POLICY}, _POLICY)
        if "providers" in entries:
            values["providers"] = self._providers(entries["providers"])
        return values

    def _providers(self, node: Node) -> list[dict[str, Any]]:
        if not isinstance(node, ListNode) or not node.items:
            self._error(node, "providers names none.", f"Expected a list of mappings, each with a type: {_types()}.")
            return []
        return [self._provider(one) for one in node.items]

    def _provider(self, node: Node) -> dict[str, Any]:
        everything = {key for keys in _PROVIDERS.values() for key in keys} | {"type"}
        entries = self._entries(node, "A provider", everything)
        kind = value_of(entries["type"]) if "type" in entries else None
        if not isinstance(kind, str) or kind not in _PROVIDERS:
            self._error(entries.get("type", node), "This provider has no known type.", f"Expected {_types()}.")
            return {}
        keys = _PROVIDERS[kind]
        for name in [name for name in entries if name != "type" and name not in keys]:
            self._error(entries.pop(name), f"{name} is not a key of {kind}.", f"It has {', '.join(keys)}.")
        del entries["type"]
        for name, row in keys.items():
            if row.required and name not in entries:
                self._error(node, f"This {kind} provider has no {name}.", f"Expected {row.kind.allowed}.")
        return {"type": kind} | {name: row.default for name, row in keys.items()} | self._values(entries, keys)

    def _values(self, entries: Mapping[str, Node], keys: Mapping[str, _Key]) -> dict[str, Any]:
        values = {}
        for name, node in entries.items():
            if is_null(node):
                continue
            try:
                values[name] = keys[name].kind.convert(value_of(node))
            except ValueError:
                form = "" if isinstance(node, ScalarNode) else " of another form"
                self._error(node, f"{name} is {as_written(node)}{form}.", f"Expected {keys[name].kind.allowed}.")
        return values

    def _entries(self, node: Node, what: str, known: set[str]) -> dict[str, Node]:
        if not isinstance(node, MapNode):
            advice = f"Expected keys such as {', '.join(sorted(known)[:3])}."
            self._error(node, f"{what} is not a mapping.", advice)
            return {}
        found: dict[str, Node] = {}
        for name, (key, value) in entries_of(node, self._report, severity="error").items():
            if name in known:
                found[name] = value
            else:
                # An error and not a note: a policy that is silently not followed takes a host out wrongly.
                advice = did_you_mean(name, known) or f"Expected one of {', '.join(sorted(known))}."
                self._error(key, f"{what} has the unknown key {shown(name)}.", advice)
        return found


def _types() -> str:
    return " or ".join(_PROVIDERS)
