"""Characters that word processors and web pages put in the place of those that YAML means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_SPACES = {
    "\u00a0": "no-break space",
    "\u2007": "figure space",
    "\u202f": "narrow no-break space",
    "\u200b": "zero-width space",
    "\u3000": "ideographic space",
}
_QUOTES = "“”„‘’‚«»"  # noqa: RUF001 - these are the ones that are meant
_DASHES = "–—−"  # noqa: RUF001

# A quote or dash counts only where a YAML one would do something: in a name it may be meant.
_LOOKALIKE = re.compile(
    f"[{''.join(_SPACES)}]"
    f"|(?:^|(?<=[:{{,-] )|(?<=\\[))[{_QUOTES}]|[{_QUOTES}](?= *(?:\r?$|[,:\\]}}]))"
    f"|(?:^|(?<=  ))[{_DASHES}](?= )"
)
_COMMENT = re.compile(r"(?:^|\s)#")


class Lookalike(NamedTuple):
    """One such character: its place, counted from 1, what is wrong with it, and what to write instead."""

    line: int
    column: int
    message: str
    remedy: str


def lookalikes(text: str) -> Iterator[Lookalike]:
    """Yield the characters outside comments, in their order."""
    if text.isascii():
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.isascii():
            comment = _COMMENT.search(line)
            for found in _LOOKALIKE.finditer(line, 0, comment.start() if comment else len(line)):
                yield Lookalike(number, found.start() + 1, *_words(found[0]))


def _words(character: str) -> tuple[str, str]:
    code = f"U+{ord(character):04X}"
    if character in _SPACES:
        return (
            f"Here is a {_SPACES[character]} ({code}), which is a letter to YAML.",
            "Replace it by an ordinary space.",
        )
    if character in _DASHES:
        return f"The dash {character} ({code}) begins no item of a list.", "Write '-'."
    return f"The curly quote {character} ({code}) quotes nothing: it is a part of the text.", "Write ' or \"."
