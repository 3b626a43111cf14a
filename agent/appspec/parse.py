"""The AppSpec parser: bytes in, an AppSpec or all that is wrong with it out."""

from __future__ import annotations

import re

from agent.appspec.files import parse_files
from agent.appspec.hooks import parse_hooks
from agent.appspec.model import AppSpec, FileExistsBehavior
from agent.appspec.permissions import parse_permissions
from agent.appspec.report import Report, listed, shown
from agent.appspec.suggest import did_you_mean
from agent.appspec.text import decode
from agent.appspec.values import describe, fields, is_null, place_of_missing
from agent.appspec.yaml_tree import MapNode, Node, ScalarNode, compose
from agent.errors import AppSpecError, Problem

KEYS = frozenset({"version", "os", "files", "file_exists_behavior", "permissions", "hooks"})

_ZERO = re.compile(r"[-+]?(?:0x0[0_]*|0[0_]*(?:\.[0_]*)?|\.0[0_]*)(?:[eE][-+]?[0-9]+)?")
_BEHAVIORS = [behavior.value for behavior in FileExistsBehavior]


def parse(data: bytes, *, filename: str) -> AppSpec:
    """Read an AppSpec file of a server deployment; ``filename`` is the name to show in messages.

    Raises AppSpecError, which lists every error with its line. Warnings are dropped; ``check`` gives them too.
    """
    appspec, problems = check(data, filename=filename)
    if appspec is None:
        raise AppSpecError([problem for problem in problems if problem.severity == "error"])
    return appspec


def check(data: bytes, *, filename: str) -> tuple[AppSpec | None, list[Problem]]:
    """Read an AppSpec file and give it with all problems by line: None if there is an error, else it and the warnings.

    What the official agent 1.8.1 or 2.x accepts is accepted. Any bytes may come in: text, depth and number of values
    are bounded, so that an answer takes neither more than a second nor more than 100 MB. Raises nothing.
    """
    report = Report(filename)
    try:
        root = compose(decode(data, report), report)
    except AppSpecError:
        return None, report.problems()
    appspec = _appspec(root, filename, report)
    return (None if report.failed else appspec), report.problems()


def _appspec(root: Node | None, filename: str, report: Report) -> AppSpec | None:
    if root is None or is_null(root):
        remedy = "It needs at least the lines 'version: 0.0' and 'os: linux'."
        report.add(0, 0, "The AppSpec file is empty.", remedy, severity="error")
        return None
    if not isinstance(root, MapNode):
        report.error(root, f"The AppSpec file must be a map, but it is {describe(root)}.", "Begin with 'version: 0.0'.")
        return None
    found = fields(root, KEYS, "an AppSpec file", report)
    _check_version(root, found.get("version"), report)
    _check_os(root, found.get("os"), report)
    hooks = found.get("hooks")
    return AppSpec(
        filename=filename,
        files=parse_files(found.get("files"), report),
        permissions=parse_permissions(found.get("permissions"), report),
        hooks=parse_hooks(hooks, report),
        file_exists_behavior=_file_exists_behavior(found.get("file_exists_behavior"), report),
        event_places={name: key for name, (key, _) in hooks.entries.items()} if isinstance(hooks, MapNode) else {},
    )


def _check_version(root: MapNode, node: Node | None, report: Report) -> None:
    remedy = "Write 'version: 0.0'; there is no other."
    if node is None:
        report.error(place_of_missing(root, "version", KEYS, report), "The AppSpec file has no version.", remedy)
    elif not isinstance(node, ScalarNode) or not _ZERO.fullmatch(node.text):
        report.error(node, f"The version is {describe(node)}.", remedy)
    elif not node.plain:
        # The documentation and the official message write "0.0" in quotes, so this is what people try.
        report.warning(node, f"The version {shown(node.text)} is in quotes; the official agents refuse that.", remedy)


def _check_os(root: MapNode, node: Node | None, report: Report) -> None:
    remedy = "Write 'os: linux'."
    if node is None:
        report.error(place_of_missing(root, "os", KEYS, report), "The AppSpec file has no os.", remedy)
    elif not isinstance(node, ScalarNode) or node.text != "linux":
        hint = did_you_mean(node.text.strip(), ["linux"]) if isinstance(node, ScalarNode) else ""
        report.error(node, f"The os is {describe(node)}; this agent deploys to linux only.", hint or remedy)


def _file_exists_behavior(node: Node | None, report: Report) -> FileExistsBehavior | None:
    if node is None:
        return None
    if isinstance(node, ScalarNode) and node.text in _BEHAVIORS:
        return FileExistsBehavior(node.text)
    hint = did_you_mean(node.text, _BEHAVIORS) if isinstance(node, ScalarNode) else ""
    allowed = f"{listed(_BEHAVIORS)} are allowed, in capital letters."
    report.error(node, f"The file_exists_behavior is {describe(node)}.", f"{hint} {allowed}".lstrip())
    return None
