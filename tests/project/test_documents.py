"""The documents say what is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from command_help import documented, printed, words

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"), *(PROJECT / "appspec-examples").rglob("*.md")]
)
LINK = re.compile(r"\]\(([^)#:\n]+)(?:#[^)]*)?\)")
TARGET = re.compile(r"`make ([a-z]+)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(PROJECT)) for path in DOCUMENTS])
def test_links_lead_somewhere(document: Path) -> None:
    dead = [target for target in LINK.findall(document.read_text()) if not (document.parent / target).exists()]
    assert not dead


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(PROJECT)) for path in DOCUMENTS])
def test_make_targets_that_are_named_exist(document: Path) -> None:
    makefile = (PROJECT / "Makefile").read_text()
    for target in TARGET.findall(document.read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_help_of_every_command_is_what_the_programs_print() -> None:
    there = documented()
    for command, text in printed().items():
        assert words(there.pop(command, "")) == words(text), f"another help for {command}: run make commands"
    assert not there, "commands that do not exist: run make commands"


def test_the_readme_names_the_test_command_that_ci_calls_first() -> None:
    assert "make test" in (PROJECT / "README.md").read_text()
    commands = (PROJECT / ".ci" / "run").read_text().splitlines()
    assert commands[-2:] == ["make test", "exec make test-hosts"]
