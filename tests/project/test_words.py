"""The words that this project has given up for the field's own terms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from project_files import committed_files

PROJECT = Path(__file__).resolve().parents[2]

IDIOMS = "longer|more|such|better|matter|need|reason|way|problem|secret|obstacle|loss|news"
# By what is said today. A word counts as a part of an identifier too.
RETIRED = {
    "directory": "folders?",
    "fix, correct": "mend(s|ed|ing)?",
    "problem": "troubles?|troubled",
    "timeout, retry policy": "patience",
    "script supervisor": "keepers?",
    "helper process": "second_?writer",
    "progress reporter": "tellers?",
    "dispatcher": "desks?",
    "orchestrator": "conductors?",
    "background job": "errands?",
    "desired": "(un)?wanted",
    "finalize, apply": "settl(e|es|ed|ing)",
    "space": "blanks?(?! lines?)",
    "is not a": rf"(?<!there )(is|are) no (?!{IDIOMS})\w+",
}
# What others have named: options of systemd and Vagrant, an argument of urllib, and words of the official agent.
OF_OTHERS = re.compile(r"WantedBy|synced_folder|keep_blank_values|within folder")
# The words that files on a host's disk may still have.
AS_BEFORE = "# as earlier versions wrote it"
NOT_OURS = ("LICENSE", "docs/demo.svg", "agent/service/model/", "tests/project/test_words.py")


PATTERNS = {instead: re.compile(rf"(?<![a-z])({words})(?![a-z])", re.IGNORECASE) for instead, words in RETIRED.items()}


def retired_in(line: str) -> list[str]:
    """Return what a line says with a retired word, and what it should say."""
    clean = "" if line.endswith(AS_BEFORE) else OF_OTHERS.sub("", line)
    return [
        f"{match[0]!r}: say {instead}"
        for instead, pattern in PATTERNS.items()
        if (match := pattern.search(clean)) is not None
    ]


def test_no_document_and_no_program_says_a_retired_word() -> None:
    found, files = [], committed_files()
    assert len(files) > 500
    for path in files:
        name = str(path.relative_to(PROJECT))
        if name.startswith(NOT_OURS):
            continue
        try:
            lines = [name, *path.read_text().splitlines()]
        except UnicodeDecodeError:
            continue
        found += [f"{name}:{number}: {problem}" for number, line in enumerate(lines) for problem in retired_in(line)]
    assert not found, "\n".join(found[:50])


@pytest.mark.parametrize("line", ["the folder", "make_folders", "_TROUBLE", "which is no name", "Settled"])
def test_a_retired_word_is_noticed_wherever_it_stands(line: str) -> None:
    assert retired_in(line)


@pytest.mark.parametrize("line", ["recommended", "a blank line", "it is no longer there", "RedeskD"])
def test_another_word_is_not_taken_for_a_retired_one(line: str) -> None:
    assert retired_in(line) == []
