"""What single values of a YAML text mean: nothing, truth values, numbers, text (YAML 1.1, as the official agents)."""

from __future__ import annotations

import re

import yaml

from agent.text.report import shown
from agent.text.yaml_tree import ListNode, MapNode, Node, ScalarNode

_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_NULL = frozenset({"", "~", "null"})
_LONGEST_NULL = 4

_NUMBER = r"[-+]?(?:0x[0-9a-fA-F_]+|(?:[0-9][0-9_,]*\.?|\.[0-9])[0-9_]*(?:[eE][-+]?[0-9]+)?)"


def is_null(node: Node | None) -> bool:
    """Tell whether a value is missing or says "nothing" (an empty value, ``~`` or ``null`` without quotes)."""
    # The length first: this is asked of every value of an AppSpec, and nearly all are longer.
    return node is None or (
        isinstance(node, ScalarNode) and len(node.text) <= _LONGEST_NULL and node.plain and node.text.lower() in _NULL
    )


def is_false(node: Node) -> bool:
    """Tell whether a value is the truth value false (YAML 1.1, without quotes)."""
    return isinstance(node, ScalarNode) and node.plain and node.text.lower() in _FALSE


def is_true(node: Node) -> bool:
    """Tell whether a value is the truth value true (YAML 1.1, without quotes)."""
    return isinstance(node, ScalarNode) and node.plain and node.text.lower() in _TRUE


def is_number(node: Node) -> bool:
    """Tell whether a value is a number (YAML 1.1, without quotes)."""
    return isinstance(node, ScalarNode) and node.plain and re.fullmatch(_NUMBER, node.text) is not None


def describe(node: Node) -> str:
    """Name what a value is, for a message."""
    if isinstance(node, MapNode):
        return "a map"
    if isinstance(node, ListNode):
        return "a list"
    return "nothing" if is_null(node) else f"the text {shown(node.text)}"


def as_written(node: Node) -> str:
    """Return a value for a message: a text in quotes, a number or truth value as it is written."""
    if isinstance(node, ScalarNode) and isinstance(value_of(node), str):
        return shown(node.text)
    return node.text if isinstance(node, ScalarNode) else describe(node)


def value_of(node: Node) -> object:
    """Return a value as None, a truth value, a number, a date, a text, or lists and maps of these."""
    if isinstance(node, ListNode):
        return [value_of(item) for item in node.items]
    if isinstance(node, MapNode):
        return {text: value_of(value) for text, (_, value) in node.entries.items()}
    if not node.plain:
        return node.text
    tag = yaml.resolver.Resolver().resolve(yaml.ScalarNode, node.text, (True, False))  # type: ignore[no-untyped-call]
    try:
        return yaml.constructor.SafeConstructor().construct_object(yaml.ScalarNode(tag, node.text))
    except (yaml.YAMLError, ValueError):
        return node.text  # such as 2020-13-45, which is not a date
