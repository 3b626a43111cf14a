"""The ``files`` section: what goes where."""

from __future__ import annotations

from agent.appspec.model import FileMapping
from agent.appspec.table import ELSEWHERE, FILE
from agent.appspec.values import fields, items_of, place_of_missing, text_of
from agent.text.report import Report
from agent.text.scalars import describe, is_false, is_number, is_true
from agent.text.yaml_tree import MapNode, Node

KEYS = frozenset(FILE)

_FORM = "Write a list of entries, each with the keys source and destination."


def parse_files(node: Node | None, report: Report) -> tuple[FileMapping, ...]:
    """Read the section; ``None`` and false mean that there is none. Problems go into the report."""
    if node is None or is_false(node):
        return ()
    mappings = (_mapping(item, report) for item in items_of(node, "files section", _FORM, report))
    return tuple(mapping for mapping in mappings if mapping)


def _mapping(node: Node, report: Report) -> FileMapping | None:
    if not isinstance(node, MapNode):
        report.error(node, f"An entry of files is {describe(node)}.", _FORM)
        return None
    found = fields(node, KEYS, "an entry of files", report, elsewhere=ELSEWHERE)
    missing = [key for key in ("source", "destination") if key not in found]
    for key in missing:
        remedy = (
            "Give a file or directory of the revision; '/' is the whole revision."
            if key == "source"
            else "Give the directory on the host that the source goes into."
        )
        report.error(place_of_missing(node, key, KEYS, report), f"This entry of files has no {key}.", remedy)
    if missing:
        return None
    source = text_of(found["source"], "source", report)
    destination = _destination(found["destination"], report)
    if source is None or destination is None:
        return None
    if not destination:
        report.warning(
            found["destination"], "An empty destination is the host's root directory.", "Write '/' if that is meant."
        )
    return FileMapping(source, destination, node.line + 1, found)


def _destination(node: Node, report: Report) -> str | None:
    """Read a destination; a number or truth value is a mistake, for it would be a directory where the agent runs.

    The official agents refuse them as well.
    """
    if is_number(node) or is_true(node) or is_false(node):
        report.error(
            node, f"The destination is {describe(node)}.", "Give a path on the host; in quotes it counts as a name."
        )
        return None
    return text_of(node, "destination", report)
