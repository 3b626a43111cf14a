"""What single values of an AppSpec mean: nothing, text, truth values, whole numbers.

The official agent 1.8.1 reads YAML 1.1 as Ruby does and then asks little of a value's type. Here a text stays as it is
written (``010`` is "010", a date is its text), and only where a number or a truth value is expected is it read as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from agent.appspec.table import EXTENSION_PREFIX
from agent.text.report import Placed, Report, listed, shown
from agent.text.scalars import describe, is_null
from agent.text.suggest import closest, did_you_mean
from agent.text.yaml_tree import ListNode, MapNode, Node, ScalarNode

_HEXADECIMAL = re.compile(r"([-+]?)0x0*([0-9a-fA-F_]{1,200})")
_LEADING_NUMBER = re.compile(r"\s*([-+]?[0-9][0-9_]*)")
_WHOLE_FRACTION = re.compile(r"\.0*")
_BASE_60 = re.compile(r"([0-9]+):([0-5]?[0-9])(?::([0-5]?[0-9]))?")

_NOWHERE: Mapping[str, str] = MappingProxyType({})

# Larger numbers are cut to this: 31 years is far beyond any use, and Python refuses to convert very long digit runs.
_MAX_DIGITS = 9
_MAX_NUMBER = 999_999_999


def fields(
    node: MapNode, known: frozenset[str], where: str, report: Report, *, elsewhere: Mapping[str, str] = _NOWHERE
) -> Mapping[str, Node]:
    """Return the values of a map that are not null; keys that are not known become warnings with a suggestion.

    ``elsewhere`` says of keys that people write here by mistake what to do instead.
    """
    entries = node.entries
    if not entries.keys() <= known:
        for text, (key, _) in entries.items():
            if text not in known and not text.startswith(EXTENSION_PREFIX):
                _warn_unknown(key, known, where, report, elsewhere)
    return {text: value for text, (_, value) in entries.items() if text in known and not is_null(value)}


def _warn_unknown(
    key: ScalarNode, known: frozenset[str], where: str, report: Report, elsewhere: Mapping[str, str]
) -> None:
    report.warning(
        key,
        f"The key {shown(key.text)} is not known in {where} and is ignored.",
        lambda: (
            elsewhere.get(key.text.lower())
            or did_you_mean(key.text, known)
            or f"Known here: {listed(sorted(known), last='and')}."
        ),
    )


def place_of_missing(node: MapNode, key: str, known: frozenset[str], report: Report) -> Placed:
    """Return where a missing value would be: at its key, at a misspelling of that, or at the map."""
    if key in node.entries:
        return node.entries[key][0]
    if report.full:
        return node
    unknown = (text for text in node.entries if text not in known and not text.startswith(EXTENSION_PREFIX))
    misspelt = next((text for text in unknown if closest(text, known) == key), None)
    return node if misspelt is None else node.entries[misspelt][0]


def text_of(node: Node, what: str, report: Report) -> str | None:
    """Return a text as it is written, also where it looks like a number; None after noting why it is none."""
    if not isinstance(node, ScalarNode):
        report.error(node, f"The {what} is {describe(node)}.", "It must be a text.")
        return None
    if "\0" in node.text:
        report.error(node, f"The {what} {shown(node.text)} holds a NUL character.", "No name on Linux can.")
        return None
    return node.text


def items_of(node: Node, what: str, remedy: str, report: Report) -> list[Node]:
    """Return the items of a list; an empty list after noting that it is none. A map of nothing has no items either."""
    if isinstance(node, ListNode):
        return node.items
    if isinstance(node, MapNode) and not node.entries:
        report.warning(node, f"The {what} is an empty map, which counts as an empty list.", remedy)
        return []
    if isinstance(node, MapNode) and any(key.startswith("-") for key in node.entries):
        remedy = f"Write a space after each '-'. {remedy}"
    report.error(node, f"The {what} must be a list, but here is {describe(node)}.", remedy)
    return []


def whole_number(node: ScalarNode) -> tuple[int, bool] | None:
    """Read a whole number as 1.8.1 does (Ruby's ``to_i``): the leading digits count. None where there are none.

    The second value tells whether nothing but a fraction of zeros was left over. Numbers that begin with 0 are
    decimal here, also without quotes: what is meant by 060 is 60. Very large numbers are cut to nine digits.
    """
    text = node.text.replace(",", "") if node.plain else node.text
    if node.plain and (match := _HEXADECIMAL.fullmatch(text)):
        return min(int(match[1] + (match[2].replace("_", "") or "0"), 16), _MAX_NUMBER), True
    if node.plain and (match := _BASE_60.fullmatch(text)):
        # Hours first, as Ruby reads it: 1:30 is 1:30:00, where YAML 1.1 itself means a minute and a half.
        parts = [int(part[:_MAX_DIGITS]) for part in match.groups() if part]
        return min(sum(part * 60 ** (2 - place) for place, part in enumerate(parts)), _MAX_NUMBER), False
    found = _LEADING_NUMBER.match(text)
    if not found:
        return None
    digits = found[1].replace("_", "")
    sign, digits = ("-", digits[1:]) if digits[0] == "-" else ("", digits.lstrip("+"))
    digits = digits.lstrip("0") or "0"
    number = int(sign + (digits if len(digits) <= _MAX_DIGITS else str(_MAX_NUMBER)))
    rest = text[found.end() :].strip()
    return number, not rest or _WHOLE_FRACTION.fullmatch(rest) is not None
