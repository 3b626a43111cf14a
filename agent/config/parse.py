"""From the text of a configuration file to settings, or to every problem in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.config.kinds import BOOL, TRAFFIC, URL
from agent.config.settings import OFFICIAL_1, RETIRED, TABLE, Settings, SettingsError
from agent.errors import Problem
from agent.text.decode import Format
from agent.text.redact import redacted_url
from agent.text.report import Report, shown
from agent.text.scalars import as_written, is_null, value_of
from agent.text.suggest import did_you_mean
from agent.text.yaml_tree import MapNode, Node, ScalarNode, entries_of, read_yaml

FORMAT = Format(
    "configuration file",
    max_size=1024 * 1024,  # a real one has two thousand bytes, so more is some other file
    max_depth=20,
    max_nodes=50_000,
    shape="Settings are single values, one a line; traffic_control needs seven levels.",
    smaller="It holds a few lines, one setting each; is this the right file?",
    strict=True,
)

# A file with more lines is some other file, and each line is read by itself.
_MOST_LINES = 1000


def parse(data: bytes, *, filename: str) -> tuple[Settings, tuple[Problem, ...]]:
    """Make settings of the text of a configuration file; also return what deserves a warning.

    Keys may begin with a colon or not. An empty value leaves the default. Raises SettingsError with all
    problems at once.
    """
    return parse_all({filename: data})[:2]


def parse_all(texts: Mapping[str, bytes]) -> tuple[Settings, tuple[Problem, ...], dict[str, str]]:
    """Make settings of several configuration files, whose texts are given by name.

    Where a key stands in several of them the last one counts. Also return what deserves a warning, and the file that
    each setting comes from. Raises SettingsError with the problems of all files.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    warnings: list[Problem] = []
    errors: list[Problem] = []
    for filename, data in texts.items():
        report = Report(filename)
        found = _read(data, report)
        errors += report.errors()
        warnings += [] if report.failed else report.problems()
        found = found or (_line_by_line(data) if report.failed else {})
        values |= found
        origins |= dict.fromkeys(found, filename)
    if errors:
        raise SettingsError(errors, Settings(**values))
    return Settings(**values), tuple(warnings), origins


def _line_by_line(data: bytes) -> dict[str, Any]:
    """Return the values of the lines that are right by themselves in a text that is not YAML as a whole."""
    values: dict[str, Any] = {}
    for line in data.splitlines()[:_MOST_LINES]:
        if not line.startswith((b" ", b"\t")):
            values |= _read(line, Report(""))
    return values


def _read(data: bytes, report: Report) -> dict[str, Any]:
    root = read_yaml(data, report, FORMAT)
    if isinstance(root, MapNode):
        return _values(root, report)
    if root is not None and not is_null(root):
        report.error(root, "Settings were expected.", "Write one a line, such as max_revisions: 5.")
    return {}


def _values(root: MapNode, report: Report) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, (key, node) in entries_of(root, report).items():
        if name in TABLE:
            _take(name, node, values, report)
        elif name not in RETIRED:
            advice = did_you_mean(name, TABLE) or "It has no effect; see codedeploy-agent settings."
            report.warning(key, f"Unknown setting {shown(name)}.", advice)
    return values


def _take(name: str, node: Node, values: dict[str, Any], report: Report) -> None:
    row, raw = TABLE[name], value_of(node)
    truth = row.kind is BOOL and row.since == OFFICIAL_1 and isinstance(node, ScalarNode)
    if raw is None and truth and row.default:
        values[name] = _truth(name, node, report)
    elif raw is None or (raw == "" and row.default is None):
        return
    elif row.kind is TRAFFIC:
        from agent.config.traffic import read_traffic  # few hosts have it

        failed, report.failed = report.failed, False
        traffic = read_traffic(node, report)
        if not report.failed:
            values[name] = traffic
        report.failed = report.failed or failed
    else:
        try:
            values[name] = row.kind.convert(raw)
        except ValueError:
            if truth and (not isinstance(raw, str) or raw in ("", "nil")):  # another word is a mistake
                values[name] = _truth(name, node, report)
            else:
                # A URL may hold a password, also one that is misspelt.
                is_url = row.kind is URL and isinstance(node, ScalarNode)
                written = shown(redacted_url(str(raw))) if is_url else as_written(node)
                report.error(node, f"{name} is {written}.", f"Expected {row.kind.allowed}.")


def _truth(name: str, node: Node, report: Report) -> bool:
    """Take what is neither true nor false by Ruby's truth: hosts of 1.8.1 have such files, and it starts there."""
    raw = value_of(node)
    truth = raw is not None and raw != "nil"
    found = "empty" if raw is None else as_written(node)
    text = f"{name} is {found}, which counts as {str(truth).lower()}, as it does with the official agent 1.8.1."
    report.warning(node, text, "Write true or false.")
    return truth
