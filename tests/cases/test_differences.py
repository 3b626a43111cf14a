"""docs/differences.md lists each case where ours differs on purpose, and nothing else."""

from __future__ import annotations

import os
import re

from case_data import load_cases

DOCUMENT = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "differences.md")
ROW = re.compile(r"^\| `([a-zA-Z0-9.-]+)` \| (.+?) \|$")


def listed() -> dict[str, str]:
    """The rows of the document's table of cases: name and reason."""
    with open(DOCUMENT, encoding="utf-8") as file:
        text = file.read()
    table = text.split("## Case by case", 1)[1].split("\n## ", 1)[0]
    return {row[1]: row[2] for line in table.splitlines() if (row := ROW.match(line))}


def test_every_difference_is_explained_and_every_explanation_is_of_a_difference() -> None:
    differing = {case.name for case in load_cases() if case.differs}
    assert sorted(listed()) == sorted(differing)


def test_each_reason_is_one_whole_sentence() -> None:
    for name, reason in listed().items():
        assert reason.endswith("."), name
        assert len(reason.split()) >= 6, f"{name}: {reason!r} does not say why"
