"""From the text of an on-premises configuration file to an identity, or every problem in it."""

from __future__ import annotations

import os
from typing import NamedTuple

from agent.identity import names
from agent.identity.errors import OnPremisesError
from agent.identity.on_premises import LARGEST_FILE, OnPremises, OnPremisesFile
from agent.text.decode import Format
from agent.text.report import Report, shown
from agent.text.scalars import is_null
from agent.text.suggest import did_you_mean
from agent.text.yaml_tree import MapNode, Node, ScalarNode, entries_of, read_yaml

USER = "iam_user_arn"
SESSION = "iam_session_arn"
NEEDED = {
    USER: ("region", "aws_access_key_id", "aws_secret_access_key"),
    SESSION: ("region", "aws_credentials_file"),
}
"""What has to stand beside each ARN."""

_KNOWN = sorted({*NEEDED, *NEEDED[USER], *NEEDED[SESSION]})
_SECRET = ("aws_access_key_id", "aws_secret_access_key")
_RESOURCES = {USER: ("user/", "an IAM user"), SESSION: ("assumed-role/", "a session of a role")}

_FORMAT = Format(
    "on-premises configuration file",
    max_size=LARGEST_FILE,
    max_depth=20,
    max_nodes=1000,
    shape="Values are single texts.",
    smaller="It holds four or five lines; is this the right file?",
    secret=True,
)


class _Entry(NamedTuple):
    """A key's value and where it stands, counted from 0; ``text`` is None for a list or a map."""

    text: str | None
    line: int
    column: int


def parse(data: bytes, *, path: str) -> OnPremisesFile:
    """Make an identity of the text of an on-premises file; also return what deserves a warning.

    Values are taken as they are written: a key id of digits is not a number here. Raises OnPremisesError with all
    problems at once; no message holds a secret.
    """
    report = Report(path)
    entries = _entries(data, report)
    found = None if report.failed else _identity(entries, report, path)
    if report.failed:
        raise OnPremisesError(report.errors())
    return OnPremisesFile(found, tuple(report.problems()))


def _entries(data: bytes, report: Report) -> dict[str, _Entry]:
    """Return the values by their keys, without colons."""
    root = read_yaml(data, report, _FORMAT)
    if root is None or is_null(root):
        return {}
    if not isinstance(root, MapNode):
        report.error(root, "Keys with values were expected.", "Write one a line, such as region: eu-west-1.")
        return {}
    found = {}
    for name, (key, node) in entries_of(root, report).items():
        if name not in _KNOWN:
            report.warning(key, f"Unknown key {shown(name)}.", did_you_mean(name, _KNOWN))
        found[name] = _Entry(_text_of(node), node.line, node.column)
    return found


def _text_of(node: Node) -> str | None:
    if not isinstance(node, ScalarNode):
        return None
    return "" if is_null(node) else node.text.strip()


def _identity(entries: dict[str, _Entry], report: Report, path: str) -> OnPremises | None:
    given = {name: entry for name, entry in entries.items() if entry.text != ""}
    arn = _chosen_arn(given, report)
    if arn is None and not report.failed:
        return None
    values = {name: _value(name, entry, report) for name, entry in given.items() if name in _KNOWN}
    if arn is None:
        return None
    for name in NEEDED[arn]:
        if name not in given:
            report.add(0, 0, f"{name} is missing; {arn} needs it.", f"Add a line {name}: ...", severity="error")
    for name in sorted(set(values) - {arn, *NEEDED[arn]}):
        report.warning(given[name], f"{name} has no effect beside {arn}.", "Remove the line.")
    if report.failed:
        return None
    session = arn == SESSION
    return OnPremises(
        arn=values[arn],
        region=values["region"],
        access_key=None if session else values["aws_access_key_id"],
        secret_key=None if session else values["aws_secret_access_key"],
        credentials_file=_credentials_file(given["aws_credentials_file"], report, path) if session else None,
        path=path,
    )


def _chosen_arn(given: dict[str, _Entry], report: Report) -> str | None:
    """Find which of the two ARNs is given; none is a warning, both are an error."""
    arns = [name for name in NEEDED if name in given]
    if len(arns) == 1:
        return arns[0]
    if arns:
        later = max((given[name] for name in arns), key=lambda entry: entry.line)
        remedy = "Keep the one that this host is registered with."
        report.error(later, f"{USER} and {SESSION} exclude each other.", remedy)
    else:
        remedy = "Add one of them, or remove the file if this is an EC2 instance."
        report.add(0, 0, f"There is neither {USER} nor {SESSION}: this file is not used.", remedy, severity="warning")
    return None


def _value(name: str, entry: _Entry, report: Report) -> str:
    """Check one value; what is wrong with it goes into the report."""
    text = entry.text
    if text is None:
        report.error(entry, f"{name} has a list or a map as its value.", "Write one text.")
        return ""
    if name in _SECRET and not names.is_key(text):
        report.error(entry, f"{name} holds spaces or characters that no key has.", "Copy it again, without line ends.")
    elif name == "region":
        _check_region(text, entry, report)
    elif name in NEEDED:
        _check_arn(name, text, entry, report)
    elif "\0" in text:
        report.error(entry, f"{name} holds a null character.", "Write the path of a file.")
    return text


def _check_region(text: str, entry: _Entry, report: Report) -> None:
    fault = names.region_fault(text)
    if fault:
        report.error(entry, f"The region {shown(text)} {fault}.", "Write the region that this host is registered in.")
    elif not names.is_usual_region(text):
        report.warning(entry, f"{shown(text)} does not look like a region.", "They are named like eu-west-1.")


def _check_arn(name: str, text: str, entry: _Entry, report: Report) -> None:
    beginning, whose = _RESOURCES[name]
    if not names.is_arn(text):
        remedy = "Copy it from: aws deploy get-on-premises-instance, or from IAM."
        report.error(entry, f"{name} is {shown(text)}, which is not an ARN.", remedy)
    elif not text.split(":", 5)[5].startswith(beginning):
        report.warning(
            entry, f"{name} is {shown(text)}, which is not the ARN of {whose}.", f"One has {beginning} in it."
        )


def _credentials_file(entry: _Entry, report: Report, path: str) -> str:
    """Make an absolute path, since a working directory of the agent is nothing to rely on."""
    text = os.path.expanduser(entry.text or "")
    if not os.path.isabs(text):
        text = os.path.join(os.path.dirname(os.path.abspath(path)), text)
        report.warning(
            entry, f"aws_credentials_file is a relative path; {text} is meant then.", "Write the whole path."
        )
    return text
