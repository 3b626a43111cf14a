"""The range of an SELinux context: ``sN[-sM][:categories]``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from agent.text.report import shown

# A policy has at most 1024 categories, and the official agents 1.8.1 and 2.x allow no higher number.
MAX_CATEGORY = 1023

_NUMBER = re.compile("[0-9]{1,9}")


class RangeError(Exception):
    """A range is wrong; the text says where."""


def parse_range(text: str) -> str:
    """Return a range as 1.8.1 hands it to ``semanage``, in its shortest form. Raises RangeError.

    The form: one sensitivity, or two with the higher one last, then perhaps a colon and a list of categories with
    commas, each a single one (``c3``) or a run (``c0.c7``). A comma at the end says nothing. Categories come out in
    their order and neighbours as a run; one that is there twice, which only 2.x takes, counts once.
    """
    levels, colon, categories = text.partition(":")
    low, dash, high = levels.partition("-")
    first = _sensitivity(low)
    last = _sensitivity(high) if dash else first
    if last < first:
        raise RangeError(f"the sensitivity {shown(high)} is below {shown(low)}")
    parsed = f"s{first}" if first == last else f"s{first}-s{last}"
    if not colon:
        return parsed
    runs = sorted(_run(part) for part in (categories.rstrip(",") or categories).split(","))
    return f"{parsed}:{','.join(_joined(runs))}"


def _sensitivity(text: str) -> int:
    number = _number(text, "s")
    if number is None:
        raise RangeError(f"{shown(text)} is not a sensitivity, such as s0")
    return number


def _run(part: str) -> tuple[int, int]:
    first, dot, last = part.partition(".")
    low = _number(first, "c")
    high = _number(last, "c") if dot else low
    if low is None or high is None or max(low, high) > MAX_CATEGORY:
        wrong = first if low is None or low > MAX_CATEGORY else last
        raise RangeError(f"{shown(wrong)} is not a category (c0 to c{MAX_CATEGORY})")
    if high < low:
        raise RangeError(f"the run {shown(part)} ends below its beginning")
    return low, high


def _joined(runs: Iterable[tuple[int, int]]) -> list[str]:
    """Return sorted runs in words, those that touch or overlap as one."""
    joined: list[list[int]] = []
    for low, high in runs:
        if joined and low <= joined[-1][1] + 1:
            joined[-1][1] = max(joined[-1][1], high)
        else:
            joined.append([low, high])
    return [f"c{low}" if low == high else f"c{low}.c{high}" for low, high in joined]


def _number(text: str, letter: str) -> int | None:
    return int(text[1:]) if text.startswith(letter) and _NUMBER.fullmatch(text, 1) else None
