"""Every command that a document shows does what the document says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_help import COMMANDS, documented
from document_reader import RUN, Block, follow, one_word_each, read
from guards import require
from project_files import PROJECT, committed_files

DOCUMENTS = sorted(path for path in committed_files() if path.suffix == ".md" and path != COMMANDS)
WANTS = {"root", "systemd", "EC2", "AWS", "another machine", "a network", "Vagrant"}
"""What the place in which the documents are tested does not have."""
REASON = re.compile(r'"(?:needs (?P<wants>[\w ,]+)|run by (?P<test>\S+))"|if\(not has\("(\S+)"\), reason="needs \3"\)')
INDENTED = re.compile(r"\n\n( {4}|\t)(?!\s*[-*+\d])")
OURS = re.compile(r"(?<![\w./-])codedeploy-(?:agent|local)(?=\s|$).*")
INLINE = re.compile(r"`([^`\n]+)`")


def blocks(document: Path) -> list[Block]:
    """Return the blocks of commands of a document, also those that the reader does not see."""
    parsed = (part.parsed for part in read(document))
    return [block for block in parsed if isinstance(block, Block) and block.language in RUN]


def shown(document: Path) -> list[Block]:
    """Return the blocks of commands that the reader sees."""
    return [block for block in blocks(document) if not block.hidden]


def reasons(document: Path) -> Iterator[str]:
    """Return the argument of each mark that leaves blocks out; "None" where it has no reason."""
    for part in read(document):
        if isinstance(part.parsed, tuple) and part.parsed[0] in ("next", "start"):
            yield str(part.parsed[1])


def each(documents: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("document", documents, ids=[str(path.relative_to(PROJECT)) for path in documents])


@pytest.mark.needs_tool("bash")
@each([path for path in DOCUMENTS if shown(path)])
def test_the_commands_of_a_document_do_what_it_says(document: Path) -> None:
    if any(re.search(r"\baws (deploy|s3) ", block.text) for block in blocks(document)):
        require("aws")
    for reason in follow(document):
        print(f"{document.relative_to(PROJECT)}: not run: {reason}")


@each(DOCUMENTS)
def test_every_block_names_its_language_so_that_no_command_goes_unseen(document: Path) -> None:
    unnamed = [part.line for part in read(document) if isinstance(part.parsed, Block) and not part.parsed.language]
    assert not unnamed, f"{document.relative_to(PROJECT)}: blocks without a language in lines {unnamed}"
    assert not INDENTED.search(document.read_text()), "a block that is made by indentation: use a fence"


@each(DOCUMENTS)
def test_a_command_is_left_out_only_for_a_reason_that_holds(document: Path) -> None:
    for reason in reasons(document):
        found = REASON.fullmatch(reason)
        assert found, f"{document.relative_to(PROJECT)}: docs/development.md has no such reason: {reason}"
        assert set((found["wants"] or "root").split(", ")) <= WANTS, reason
        assert (PROJECT / (found["test"] or ".")).exists(), reason


def test_most_commands_are_run() -> None:
    count = sum(len(shown(document)) for document in DOCUMENTS)
    left_out = sum(not reason.startswith("if") for document in DOCUMENTS for reason in reasons(document))
    assert left_out <= 0.4 * count, f"{left_out} of {count} blocks of commands are not run"


def calls(document: Path) -> Iterator[str]:
    """Return each call of our programs: in the text, and in blocks whether they are run or not."""
    for code in [*INLINE.findall(document.read_text()), *(block.text for block in blocks(document))]:
        yield from OURS.findall(code.replace("\\\n", " "))


@each(DOCUMENTS)
def test_every_command_and_option_of_our_programs_that_is_named_exists(document: Path) -> None:
    helps = documented()
    for call in calls(document):
        words = [word.strip("[]") for word in call.split()]
        command = (
            " ".join(words[:2]) if re.fullmatch(r"codedeploy-agent [a-z][a-z-]*", " ".join(words[:2])) else words[0]
        )
        assert command in [*helps, "codedeploy-agent help"], f"{document.relative_to(PROJECT)}: {call}"
        named = {word.partition("=")[0] for word in words if re.fullmatch(r"--[a-z][a-z-]*(=.*)?", word)}
        known = set(re.findall(r"(?<!\w)--[a-z][a-z-]*", helps.get(command, "") + helps[words[0]]))
        assert named <= known, f"{document.relative_to(PROJECT)}: {call}"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("d-IXN62G6OH-local succeeded: 0.12 s", "d-T8E8RJLYG-local succeeded: 3 s"),
        (
            "running as PID 4711, since 2026-11-23 05:13:10 (3 h 2 min ago)",
            "running as PID 7, since 2027-01-01 00:00:00 (1 s ago)",
        ),
        ("http://127.0.0.1:38211/  key AKIAIOSFODNN7EXAMPLE", "http://127.0.0.1:9999/ key ASIAIOSFODNN7EXAMPLF"),
    ],
)
def test_outputs_are_the_same_that_differ_only_from_run_to_run(first: str, second: str) -> None:
    assert one_word_each(first) == one_word_each(second)
    assert one_word_each(first) != one_word_each(second.replace("1", "one").replace("succeeded", "failed") + "?")
