"""The ``permissions`` section: owner, group, mode, access control lists and SELinux context of what was installed."""

from __future__ import annotations

from agent.appspec.acl_entries import parse_acls
from agent.appspec.model import Permission, SelinuxContext
from agent.appspec.modes import parse_mode
from agent.appspec.selinux_range import RangeError, parse_range
from agent.appspec.table import CONTEXT, PERMISSION, TYPES
from agent.appspec.values import fields, items_of, place_of_missing, text_of
from agent.text.report import Report, listed, shown
from agent.text.scalars import describe, is_false
from agent.text.suggest import did_you_mean
from agent.text.yaml_tree import ListNode, MapNode, Node

KEYS = frozenset(PERMISSION)
CONTEXT_KEYS = frozenset(CONTEXT)

EVERY_LEVEL = "**"
_BOTH_TYPES = frozenset(TYPES)

_FORM = "Write a list of entries, each with the key object and what is to be set for it."
_RANGE_FORM = "The form is sN[-sM][:categories], such as s0 or s0-s3:c0.c7,c12."


def parse_permissions(node: Node | None, report: Report) -> tuple[Permission, ...]:
    """Read the section; ``None`` and false mean that there is none. Problems go into the report."""
    if node is None or is_false(node):
        return ()
    entries = (_permission(item, report) for item in items_of(node, "permissions section", _FORM, report))
    return tuple(entry for entry in entries if entry)


def _permission(node: Node, report: Report) -> Permission | None:
    if not isinstance(node, MapNode):
        report.error(node, f"An entry of permissions is {describe(node)}.", _FORM)
        return None
    found = fields(node, KEYS, "an entry of permissions", report)
    path = _object(node, found.get("object"), report)
    pattern = text_of(found["pattern"], "pattern", report) if "pattern" in found else None
    permission = Permission(
        path or "",
        EVERY_LEVEL if pattern is None else pattern,
        _excluded(found["except"], report) if "except" in found else (),
        _account(found["owner"], "owner", report) if "owner" in found else None,
        _account(found["group"], "group", report) if "group" in found else None,
        parse_mode(found["mode"], report) if "mode" in found else None,
        _types(found["type"], report) if "type" in found else _BOTH_TYPES,
        parse_acls(found["acls"], report) if "acls" in found else (),
        _context(found["context"], report) if "context" in found else None,
        node.line + 1,
        found,
    )
    return permission if path else None


def _object(permission: MapNode, node: Node | None, report: Report) -> str | None:
    text = "" if node is None else text_of(node, "object", report)
    if text is None:
        return None
    path = text.strip()
    if not path:
        place = node or place_of_missing(permission, "object", KEYS, report)
        report.error(place, "This entry of permissions has no object.", "Give the installed file or directory.")
    return path or None


def _excluded(node: Node, report: Report) -> tuple[str, ...]:
    remedy = "Write a list, also for a single pattern: except: ['*.key']."
    texts = [text_of(item, "entry of except", report) for item in items_of(node, "except", remedy, report)]
    return tuple(text for text in texts if text is not None)


def _account(node: Node, what: str, report: Report) -> str | None:
    """Read a name or number of an account; whether there is such an account is the host's matter."""
    text = text_of(node, what, report)
    if text == "":
        report.warning(node, f"The {what} is empty, so none is set.", "Remove the key, or give a name or number.")
    return text or None


def _types(node: Node, report: Report) -> frozenset[str]:
    remedy = "Write a list of file, directory or both: type: [file]."
    items = items_of(node, "type", remedy, report)
    types = [text_of(item, "entry of type", report) for item in items]
    for item, text in zip(items, types, strict=True):
        if text is not None and text not in TYPES:
            report.error(
                item,
                f"{shown(text)} is not a type of object.",
                f"{did_you_mean(text, TYPES)} Permissions can be set for {listed(list(TYPES), last='and')}.".lstrip(),
            )
    if isinstance(node, ListNode) and not items:
        report.warning(node, "An empty list of types matches nothing.", remedy)
    return frozenset(text for text in types if text is not None)


def _context(node: Node, report: Report) -> SelinuxContext | None:
    if not isinstance(node, MapNode):
        report.error(
            node, f"The context is {describe(node)}.", "Write a map with the key type, and perhaps user and range."
        )
        return None
    found = fields(node, CONTEXT_KEYS, "a context", report)
    kind = text_of(found["type"], "type of the context", report) if "type" in found else ""
    # The official agents read name; their documentation says user.
    named = next((key for key in ("name", "user") if key in found), None)
    user = None if named is None else text_of(found[named], f"{named} of the context", report)
    if kind == "":
        report.error(
            place_of_missing(node, "type", CONTEXT_KEYS, report),
            "The context has no type.",
            "Give the SELinux type, such as httpd_sys_content_t.",
        )
    span = _range(found["range"], report) if "range" in found else None
    return SelinuxContext(kind, user or None, span) if kind else None


def _range(node: Node, report: Report) -> str | None:
    text = text_of(node, "range of the context", report)
    try:
        return None if text is None else parse_range(text)
    except RangeError as error:
        report.error(node, f"The range {shown(text or '')} is wrong: {error}.", _RANGE_FORM)
        return None
