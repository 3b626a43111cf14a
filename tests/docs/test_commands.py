"""Every command that a document shows does what the document says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Example

from command_help import COMMANDS, documented
from document_reader import RUN, Block, follow, one_word_each, read
from guards import unavailable
from project_files import PROJECT, committed_files

DOCUMENTS = sorted(path for path in committed_files() if path.suffix == ".md" and path != COMMANDS)
WANTS = {"root", "systemd", "EC2", "AWS", "another machine", "a network", "Vagrant"}
"""What the place in which the documents are tested does not have."""
REASON = re.compile(r'"(?:needs (?P<wants>[\w ,]+)|run by (?P<test>\S+))"|if\(not has\("(\S+)"\), reason="needs \3"\)')
INDENTED = re.compile(r"\n\n( {4}|\t)(?!\s*[-*+\d])")
OURS = re.compile(r"(?<![\w./-])codedeploy-(?:agent|local)(?=\s|$).*")
INLINE = re.compile(r"`([^`\n]+)`")


def is_run(part: Example) -> bool:
    return isinstance(part.parsed, Block) and part.parsed.language in RUN and not part.parsed.hidden


def reasons(document: Path) -> Iterator[str]:
    """Give the arguments of each mark that leaves a block out."""
    for part in read(document):
        if isinstance(part.parsed, tuple) and part.parsed[0] == "next":
            yield str(part.parsed[1])


def each(documents: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("document", documents, ids=[str(path.relative_to(PROJECT)) for path in documents])


@pytest.mark.needs_tool("bash")
@each([path for path in DOCUMENTS if any(is_run(part) for part in read(path))])
def test_the_commands_of_a_document_do_what_it_says(document: Path) -> None:
    if not (PROJECT / ".venv-aws/bin/aws").exists() and re.search(r"^(\$ )?aws ", document.read_text(), re.MULTILINE):
        unavailable("needs the AWS CLI in .venv-aws (make setup)")
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
    blocks = sum(is_run(part) for document in DOCUMENTS for part in read(document))
    left_out = sum(1 for document in DOCUMENTS for _ in reasons(document))
    assert left_out <= blocks / 2, f"{left_out} of {blocks} blocks of commands are not run"


def calls(document: Path) -> Iterator[str]:
    """Give each call of our programs: in the text, and in blocks whether they are run or not."""
    blocks = [part.parsed.text for part in read(document) if is_run(part)]
    for code in [*INLINE.findall(document.read_text()), *blocks]:
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
