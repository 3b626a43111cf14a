"""docs/security.md promises nothing without a test that shows it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENT = (PROJECT / "docs" / "security.md").read_text()
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@cache
def names_of_tests(file: str) -> frozenset[str]:
    path = PROJECT / file
    body = ast.parse(path.read_bytes()).body if path.is_file() else []
    return frozenset(node.name for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


def missing_tests(text: str) -> list[str]:
    """Return the tests that a text names and that do not exist."""
    return [f"{file}::{test}" for file, test in TEST.findall(text) if test not in names_of_tests(file)]


def unproven_rows(text: str) -> list[str]:
    """Return the rows of tables that name no test, or hold anything beside tests in their second column."""
    return [row for row in rows(text) if not re.fullmatch(rf"\|[^|]+\| {TEST.pattern}(, {TEST.pattern})* \|", row)]


def rows(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith(("| what holds |", "| --- |")):
            yield line


def sections(text: str) -> list[str]:
    return text.split("\n## ")[1:]


def test_every_test_that_the_document_names_exists() -> None:
    assert TEST.search(DOCUMENT)
    assert missing_tests(DOCUMENT) == []
    assert not re.search(r"`tests/(?![\w/]+\.py::\w+`)", DOCUMENT), "a test is named as `tests/FILE.py::test_...`"


def test_every_row_names_a_test() -> None:
    assert unproven_rows(DOCUMENT) == []


@pytest.mark.parametrize("section", sections(DOCUMENT), ids=lambda section: section.split("\n")[0])
def test_each_party_has_what_holds_and_what_does_not(section: str) -> None:
    assert "| what holds | shown by |" in section
    assert list(rows(section)) != []
    assert "What does not hold:\n\n* " in section


def test_a_test_that_was_renamed_and_a_row_without_a_test_are_noticed() -> None:
    here = "tests/project/test_security_document.py"
    there = "test_a_test_that_was_renamed_and_a_row_without_a_test_are_noticed"
    assert missing_tests(f"`{here}::{there}` `{here}::{there}_once` `tests/no/file.py::test_it`") == [
        f"{here}::{there}_once",
        "tests/no/file.py::test_it",
    ]
    assert unproven_rows(f"| It holds. | `{here}::{there}` |\n| It holds. | of course |\n") == [
        "| It holds. | of course |"
    ]
