"""The entries of a permission's ``acls``."""

from __future__ import annotations

from agent.appspec.model import AclEntry
from agent.appspec.values import items_of, text_of
from agent.text.report import Report, shown
from agent.text.scalars import describe
from agent.text.yaml_tree import MapNode, Node

_TAGS = {
    "u": "user",
    "user": "user",
    "g": "group",
    "group": "group",
    "m": "mask",
    "mask": "mask",
    "o": "other",
    "other": "other",
}
_DEFAULT = ("d", "default")
_BITS = {"r": 4, "w": 2, "x": 1, "-": 0}

_FORM = "An entry is [default:][user|group|mask|other:]name:permissions, such as user:alice:rw or d:g:staff:r-x."


def parse_acls(node: Node, report: Report) -> tuple[AclEntry, ...]:
    """Read the list; problems go into the report."""
    entries: dict[tuple[bool, str, str], AclEntry] = {}
    for item in items_of(node, "acls", f"Write a list with one entry in a line. {_FORM}", report):
        entry = _entry(item, report)
        if entry is None:
            continue
        key = (entry.default, entry.tag, entry.name)
        if key in entries:
            report.warning(
                item,
                f"The entry {describe(item)[9:]} of acls is the second for the same {entry.tag}, and only it counts.",
                "Remove one of them.",
            )
        entries[key] = entry
    return tuple(entries.values())


def _entry(node: Node, report: Report) -> AclEntry | None:
    if isinstance(node, MapNode):
        report.error(node, "An entry of acls is a map.", "Put it in quotes, or remove the space after the colon.")
        return None
    text = text_of(node, "entry of acls", report)
    if text is None:
        return None
    split = _split(text)
    if split is None:
        report.error(node, f"The entry {shown(text)} of acls is not understood.", _FORM)
        return None
    default, tag, name, letters = split
    if not name and not default and tag != "mask":
        report.error(
            node,
            f"The entry {shown(text)} of acls would set the rights of the owner, the owning group or all others.",
            "Use mode for these.",
        )
        return None
    perm = _permissions(node, text, letters, report)
    return None if perm is None else AclEntry(tag, name, perm, default, node)


def _split(text: str) -> tuple[bool, str, str, str] | None:
    """Take an entry apart as 1.8.1 does: the kind may be left out, and is then user, or mask or other by the name."""
    parts = text.split(":")
    if not 2 <= len(parts) <= 4:
        return None
    *front, name, letters = parts
    default = bool(front) and front[0] in _DEFAULT
    if default:
        front = front[1:]
    if len(front) > 1 or (front and front[0] not in _TAGS):
        return None
    if front:
        tag = _TAGS[front[0]]
    elif _TAGS.get(name) in ("mask", "other"):
        tag, name = _TAGS[name], ""
    else:
        tag = "user"
    return None if name and tag in ("mask", "other") else (default, tag, name, letters)


def _permissions(node: Node, text: str, letters: str, report: Report) -> int | None:
    if len(letters) == 1 and letters in "01234567":
        return int(letters)
    perm = 0
    for letter in letters:
        if letter not in _BITS:
            report.error(
                node,
                f"The permissions of the entry {shown(text)} of acls hold {letter!r}.",
                "Use the letters r, w, x and -, or one digit from 0 to 7.",
            )
            return None
        perm |= _BITS[letter]
    if not letters:
        report.warning(node, f"The entry {shown(text)} of acls ends without permissions: none are given.", "Write '-'.")
    return perm
