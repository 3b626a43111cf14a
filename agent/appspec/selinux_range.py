"""The range of an SELinux context: ``sN[-sM][:categories]``."""

from __future__ import annotations

import re

from agent.appspec.report import shown

# A policy has at most 1024 categories, and the official agents 1.8.1 and 2.x allow no higher number.
MAX_CATEGORY = 1023
# Official agent 2.x; policies in use have 16.
MAX_SENSITIVITY = 255

_NUMBER = re.compile("[0-9]{1,9}")


def problem_of(text: str) -> str | None:
    """Say what is wrong with a range, or None if nothing is.

    The form: one sensitivity or two with the higher one last, then perhaps a colon and a list of categories with
    commas, each a single one (``c3``) or a run (``c0.c7``).
    """
    levels, colon, categories = text.partition(":")
    low, dash, high = levels.partition("-")
    numbers = [_number(level, "s", MAX_SENSITIVITY) for level in ([low, high] if dash else [low])]
    for level, number in zip((low, high), numbers, strict=False):
        if number is None:
            return f"{shown(level)} is no sensitivity (s0 to s{MAX_SENSITIVITY})"
    if len(numbers) == 2 and (numbers[1] or 0) < (numbers[0] or 0):
        return f"the sensitivity {shown(high)} is below {shown(low)}"
    if colon:
        for part in categories.split(","):
            problem = _problem_of_category(part)
            if problem:
                return problem
    return None


def _problem_of_category(part: str) -> str | None:
    first, dot, last = part.partition(".")
    low = _number(first, "c", MAX_CATEGORY)
    high = _number(last, "c", MAX_CATEGORY) if dot else low
    if low is None or high is None:
        return f"{shown(first if low is None else last)} is no category (c0 to c{MAX_CATEGORY})"
    return f"the run {shown(part)} ends below its beginning" if high < low else None


def _number(text: str, letter: str, limit: int) -> int | None:
    if not text.startswith(letter) or not _NUMBER.fullmatch(text, 1):
        return None
    number = int(text[1:])
    return number if number <= limit else None
