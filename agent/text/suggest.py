"""Did you mean: the known word that is nearest to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable

# The longest word that is known anywhere is 20 characters; a longer one is not a slip of one of them.
_MAX_LENGTH = 40


def closest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that was probably meant, or None.

    Capital letters and the signs ``-``, ``_``, ``:`` and spaces do not count; beyond that one slip (a letter
    missing, wrong, doubled or swapped with its neighbour) is forgiven for every four letters.
    """
    if len(word) > _MAX_LENGTH:
        return None
    plain = _plain(word)
    best: tuple[int, str] | None = None
    for candidate in known:
        other = _plain(candidate)
        allowed = min(max(1, len(plain) // 4), (len(candidate) - 1) // 2)
        if abs(len(other) - len(plain)) > allowed:
            continue
        distance = _distance(plain, other)
        if distance <= allowed and (best is None or distance < best[0]):
            best = (distance, candidate)
    return best[1] if best else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the sentence for a message, or an empty text where nothing known is near."""
    match = closest(word, known)
    return f"Did you mean {match!r}?" if match else ""


def _plain(word: str) -> str:
    return word.lower().translate({ord(sign): None for sign in "-_: "})


def _distance(left: str, right: str) -> int:
    """Count the slips between two words (the optimal string alignment distance)."""
    older: list[int] = []
    previous = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        current = [i]
        for j, b in enumerate(right, 1):
            cost = min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, older[j - 2] + 1)
            current.append(cost)
        older, previous = previous, current
    return previous[-1]
