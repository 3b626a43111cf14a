"""The ``mode`` of a permission."""

from __future__ import annotations

import re

from agent.appspec.values import text_of
from agent.text.report import Report, shown
from agent.text.yaml_tree import Node, ScalarNode

_OCTAL = frozenset("01234567")
_MAX_DIGITS = 4
# As YAML 1.1 has whole numbers, in which signs and separators say nothing.
_WHOLE = re.compile(r"\+?([0-9][0-9_,]*)")

_FORM = "Write one to four octal digits, such as 644 or '0755'; letters as in chmod are not understood."


def parse_mode(node: Node, report: Report) -> int | None:
    """Read a mode from its digits, quoted or not: 644, '0644' and 0644 all mean 0o644.

    YAML 1.1 takes an unquoted 0644 for the number 420, and the official agent 1.8.1 then sets the mode 0420; what is
    written is what is meant, and the official agent 2.x reads it like that. Gives None after noting an error.
    """
    text = text_of(node, "mode", report)
    if text is None:
        return None
    if 0 < len(text) <= _MAX_DIGITS and _OCTAL.issuperset(text):
        return int(text, 8)
    if isinstance(node, ScalarNode) and node.plain and (number := _WHOLE.fullmatch(text)):
        text = re.sub("[_,]", "", number[1])
        if len(text) > _MAX_DIGITS:
            # 1.8.1 takes an unquoted 00644 for a number and so never counts its zeros.
            text = text.lstrip("0").rjust(_MAX_DIGITS, "0")
    wrong = next((character for character in text if character not in _OCTAL), None)
    if wrong is not None:
        report.error(node, f"The mode {shown(text)} holds {wrong!r}, which is not an octal digit.", _FORM)
        return None
    if len(text) > _MAX_DIGITS:
        report.error(node, f"The mode {shown(text)} has {len(text)} digits.", _FORM)
        return None
    if not text:
        report.warning(node, "The empty mode means 000: only root may do anything.", _FORM)
    return int(text or "0", 8)
