"""The patterns of a permission's ``pattern`` and ``except``."""

from __future__ import annotations

import re
from collections.abc import Callable


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return a test for the name of an object's direct child, by the rules of the official agent 1.8.1.

    ``*`` stands for any run of characters, also an empty one and also in names that begin with a dot; nothing else is
    special (no ``?``, no ``[]``). A pattern with a ``/`` matches nothing. That a lone ``**`` means every level is the
    caller's business; here it matches every name.
    """
    if "/" in pattern:
        return lambda name: False
    if "*" not in pattern:
        return lambda name: name == pattern
    parts = re.sub(r"\*+", "*", pattern).split("*")
    if len(parts) == 2:
        head, tail = parts
        shortest = len(head) + len(tail)
        return lambda name: len(name) >= shortest and name.startswith(head) and name.endswith(tail)
    return lambda name: _matches(name, parts)


def _matches(name: str, parts: list[str]) -> bool:
    """Place each part at its first chance. Greedy is right here, and unlike a regular expression always linear."""
    head, *middle, tail = parts
    if not name.startswith(head):
        return False
    place = len(head)
    for part in middle:
        found = name.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return len(name) - place >= len(tail) and name.endswith(tail)
