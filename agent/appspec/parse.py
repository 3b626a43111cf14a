"""The AppSpec parser: bytes in, an AppSpec or all that is wrong with it out."""

from __future__ import annotations

import re
from collections.abc import Collection

from agent.appspec.files import parse_files
from agent.appspec.hooks import parse_hooks
from agent.appspec.model import AppSpec, FileExistsBehavior
from agent.appspec.permissions import parse_permissions
from agent.appspec.table import APPSPEC, BEHAVIORS, ELSEWHERE
from agent.appspec.values import fields, place_of_missing
from agent.errors import AppSpecError, Problem
from agent.text.decode import Format
from agent.text.report import Report, listed, shown
from agent.text.scalars import describe, is_null
from agent.text.suggest import did_you_mean
from agent.text.yaml_tree import ListNode, MapNode, Node, ScalarNode, read_yaml

KEYS = frozenset(APPSPEC)

FORMAT = Format(
    "AppSpec file",
    # The longest ones to be expected, one entry of permissions for each of 10,000 files, have up to 1 MiB. With twice
    # that, the worst text still takes less than the second and the 100 MB that are promised.
    max_size=2 * 1024 * 1024,
    max_depth=40,
    # An entry of permissions with owner, group and mode has nine, so this is room for 20,000 of them.
    max_nodes=200_000,
    shape="An AppSpec needs five levels.",
    smaller="Give whole directories in the files and permissions sections instead of single files.",
    about_stars=" Patterns are not expanded in sources.",
)

_ZERO = re.compile(r"[-+]?(?:0x0[0_]*|0[0_]*(?:\.[0_]*)?|\.0[0_]*)(?:[eE][-+]?[0-9]+)?")

_SECTIONS = KEYS - {"version", "os"}

# What the service does without any host, by the type of its first resource.
_PLATFORMS = {"AWS::ECS::": "Amazon ECS", "AWS::Lambda::": "AWS Lambda"}


def parse(data: bytes, *, filename: str) -> AppSpec:
    """Read an AppSpec file of a server deployment; ``filename`` is the name to show in messages.

    Raises AppSpecError, which lists every error with its line. Warnings are dropped; ``check`` gives them too.
    """
    appspec, problems = check(data, filename=filename)
    if appspec is None:
        raise AppSpecError([problem for problem in problems if problem.severity == "error"])
    return appspec


def check(data: bytes, *, filename: str, events: Collection[str] | None = None) -> tuple[AppSpec | None, list[Problem]]:
    """Read an AppSpec file and return it with all problems by line; None instead of it where it cannot be used.

    ``events`` are those that a deployment has beside the standard ones; with None any event is taken.

    What the official agent 1.8.1 or 2.x accepts is accepted. Any bytes may come in: text, depth and number of values
    are bounded, so that an answer takes neither more than a second nor more than 100 MB. Raises nothing.
    """
    report = Report(filename)
    root = read_yaml(data, report, FORMAT)
    appspec = None if report.failed else _appspec(root, filename, report, events)
    return (None if report.failed else appspec), report.problems()


def _appspec(root: Node | None, filename: str, report: Report, events: Collection[str] | None) -> AppSpec | None:
    if root is None or is_null(root):
        remedy = "It needs at least the lines 'version: 0.0' and 'os: linux'."
        report.add(0, 0, "The AppSpec file is empty.", remedy, severity="error")
        return None
    if not isinstance(root, MapNode):
        report.error(root, f"The AppSpec file must be a map, but it is {describe(root)}.", "Begin with 'version: 0.0'.")
        return None
    platform = _other_platform(root)
    if platform:
        report.error(
            root,
            f"This is an AppSpec for {platform}, which no agent on a host deploys.",
            "Deploy it with a deployment group of that compute platform.",
        )
        return None
    found = fields(root, KEYS, "an AppSpec file", report, elsewhere=ELSEWHERE)
    _check_version(root, found.get("version"), report)
    _check_os(root, found.get("os"), report)
    hooks = found.get("hooks")
    return AppSpec(
        filename=filename,
        files=parse_files(found.get("files"), report),
        permissions=parse_permissions(found.get("permissions"), report),
        hooks=parse_hooks(hooks, report, events=events),
        file_exists_behavior=_file_exists_behavior(found.get("file_exists_behavior"), report),
        event_places={name: key for name, (key, _) in hooks.entries.items()} if isinstance(hooks, MapNode) else {},
    )


def _other_platform(root: MapNode) -> str:
    """Return the compute platform without hosts that an AppSpec is for; empty for one with hosts."""
    resources = next((value for key, (_, value) in root.entries.items() if key.lower() == "resources"), None)
    if resources is None or not _SECTIONS.isdisjoint(root.entries):
        return ""
    named = (name for text in _texts(resources) for start, name in _PLATFORMS.items() if text.startswith(start))
    return next(named, "" if "os" in root.entries else "Amazon ECS or AWS Lambda")


def _texts(node: Node) -> list[str]:
    """Return the texts among the values of a list of maps of maps, as the resources are."""
    if isinstance(node, ScalarNode):
        return [node.text]
    inner = node.items if isinstance(node, ListNode) else [value for _, value in node.entries.values()]
    return [text for value in inner for text in _texts(value)]


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
    elif isinstance(node, ScalarNode) and node.text.strip().lower() == "windows":
        report.error(
            node, "This revision is for Windows hosts.", "Deploy it to those; Linux needs files and scripts of its own."
        )
    elif not isinstance(node, ScalarNode) or node.text != "linux":
        hint = did_you_mean(node.text.strip(), ["linux"]) if isinstance(node, ScalarNode) else ""
        report.error(node, f"The os is {describe(node)}; this agent deploys to linux only.", hint or remedy)


def _file_exists_behavior(node: Node | None, report: Report) -> FileExistsBehavior | None:
    if node is None:
        return None
    if isinstance(node, ScalarNode) and node.text in BEHAVIORS:
        return FileExistsBehavior(node.text)
    hint = did_you_mean(node.text, BEHAVIORS) if isinstance(node, ScalarNode) else ""
    allowed = f"{listed(list(BEHAVIORS))} are allowed, in capital letters."
    report.error(node, f"The file_exists_behavior is {describe(node)}.", f"{hint} {allowed}".lstrip())
    return None
