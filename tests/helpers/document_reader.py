"""A reader who types every command of a Markdown document; docs/development.md describes the marks.

Sybil finds the blocks and the marks, and skips what is marked so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest import SkipTest

from sybil import Document, Example, Region
from sybil.parsers.markdown import SkipParser
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, FencedCodeBlockLexer

from project_files import PROJECT, committed_files
from shell_terminal import Terminal

NOBODY = 65534
RUN = ("sh", "console")
"""The languages whose blocks are run."""
_MAIN = "main"
_TMP = re.compile(r"(?<![\w./-])/tmp(?=[/\s'\"]|$)")
_ONE_WORD = (
    (r"\bd-[A-Z0-9]{9}\b", "DEPLOYMENT"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*", "TIME"),
    (r"\b\d+(\.\d+)? (h|min|s|ms)\b( \d+ (min|s)\b)*", "DURATION"),
    (r"\b(PID|pid|process) \d+", "PROCESS"),
    (r"(?<=:)\d{4,5}\b", "PORT"),
    (r"\bA[KS]IA[A-Z0-9]{16}\b", "KEY"),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
)


class Block(NamedTuple):
    """A fence, or commands that the reader does not see: ``language`` is empty where none is named."""

    language: str
    text: str
    hidden: bool = False

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Each command, with the output below it; a block of ``sh`` is one command without."""
        if self.language == "sh":
            return [(self.text, "")]
        found: list[tuple[str, str]] = []
        for line in self.text.splitlines(keepends=True):
            if line.startswith("$ "):
                found.append((line[2:], ""))
            elif found and not found[-1][1] and found[-1][0].endswith("\\\n"):
                found[-1] = (found[-1][0] + line, "")
            else:
                assert found, f"output without a command: {line}"
                found[-1] = (found[-1][0], found[-1][1] + line)
        return found


def read(path: Path) -> list[Example]:
    """Return the blocks and marks of a document; ``parsed`` is a Block, or the words of a mark."""
    return list(Document.parse(str(path), SkipParser(), _blocks, _marks))


def follow(path: Path) -> Iterator[str]:
    """Run the commands of a document; yield the reason of each block that is skipped.

    Raises AssertionError for the first command that does something else than the document says.
    """
    with _scratch() as (directory, user):
        reader = _Reader(directory, user)
        try:
            for example in read(path):
                example.namespace.update(reader=reader, has=_has)
                try:
                    example.evaluate()
                except SkipTest as skipped:
                    yield str(skipped)
        finally:
            reader.close()


class _Reader:
    def __init__(self, directory: Path, user: int | None) -> None:
        self._directory = directory
        self._user = user
        self._terminals: dict[str, Terminal] = {}
        self.marks: dict[str, str] = {}
        """What the next block is marked with."""

    def handle(self, block: Block) -> None:
        file, name = self.marks.pop("file", None), self.marks.pop("terminal", None)
        terminal = self._terminal(name or _MAIN)
        if file:
            self._check(
                terminal, f'mkdir -p "$(dirname {file})"\ncat >{file} <<"END OF FILE"\n{block.text}END OF FILE\n'
            )
        elif block.language in RUN:
            for command, shown in block.commands:
                self._check(terminal, command, shown, stays=name is not None and not block.hidden)

    def close(self) -> None:
        for terminal in reversed(self._terminals.values()):
            terminal.close()

    def _check(self, terminal: Terminal, command: str, shown: str = "", *, stays: bool = False) -> None:
        typed = _TMP.sub(str(self._directory / "tmp"), command)
        if stays:
            printed = self._as_shown(terminal.run_until(typed, lambda text: _fits(shown, self._as_shown(text))))
        else:
            status, output = terminal.run(f"set +e\n{typed}" if shown else f"set -e\n{typed}")
            printed = self._as_shown(output)
            assert shown or status == 0, f"$ {command}\nended with {status}:\n{printed}"
        assert _fits(shown, printed), f"$ {command}\nthe document shows:\n{shown}\nthe command printed:\n{printed}"

    def _as_shown(self, output: str) -> str:
        for place, name in ((self._directory / "tmp", "/tmp"), (self._directory / "home", "~")):
            output = output.replace(str(place), name)
        return output

    def _terminal(self, name: str) -> Terminal:
        if name not in self._terminals:
            directory = self._directory / f"terminal-{name}"
            self._terminals[name] = Terminal(directory, self._directory / "tree", self._environment(), self._user)
        return self._terminals[name]

    def _environment(self) -> dict[str, str]:
        programs = [os.path.dirname(sys.executable), str(PROJECT / ".venv-aws/bin"), "/usr/bin:/bin:/usr/sbin:/sbin"]
        return {
            "PATH": ":".join(programs),
            "HOME": str(self._directory / "home"),
            "TMPDIR": str(self._directory / "tmp"),
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
        }


def _fits(shown: str, printed: str) -> bool:
    """Whether the output is the one shown; one that is not shown may be any."""
    pattern = re.escape(one_word_each(shown)).replace(re.escape("..."), ".*")
    return not shown or re.fullmatch(pattern, one_word_each(printed), re.DOTALL) is not None


def one_word_each(output: str) -> str:
    """Return an output with one word for each thing that differs from run to run."""
    for pattern, word in _ONE_WORD:
        output = re.sub(pattern, word, output)
    return " ".join(output.split())


def _blocks(document: Document) -> Iterator[Region]:
    for region in FencedCodeBlockLexer(language=".*")(document):
        language, source = region.lexemes["language"], region.lexemes["source"]
        yield Region(region.start, region.end, Block(language.strip(), str(source)), _handle)
    for region in DirectiveInHTMLCommentLexer("invisible-code", arguments="sh")(document):
        yield Region(region.start, region.end, Block("sh", str(region.lexemes["source"]), hidden=True), _handle)


def _marks(document: Document) -> Iterator[Region]:
    for name in ("terminal", "file"):
        for region in DirectiveInHTMLCommentLexer(name)(document):
            yield Region(region.start, region.end, (name, region.lexemes["arguments"].strip()), _remember)


def _handle(example: Example) -> None:
    example.namespace["reader"].handle(example.parsed)


def _remember(example: Example) -> None:
    name, value = example.parsed
    example.namespace["reader"].marks[name] = value


def _has(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is not None


@contextmanager
def _scratch() -> Iterator[tuple[Path, int | None]]:
    """Make a copy of the tree, a home and a place for temporary files, and remove them at the end.

    Not below pytest's directory, which only its own user may enter.
    """
    user = _ordinary_user()
    directory = Path(tempfile.mkdtemp(prefix="docs-", dir="/tmp"))
    try:
        _copy_tree(directory / "tree")
        for name in ("home", "tmp"):
            (directory / name).mkdir()
        if user is not None:
            subprocess.run(["chown", "-R", f"{user}:{user}", str(directory)], check=True)
        yield directory, user
    finally:
        subprocess.run(["rm", "-rf", "--", str(directory)], check=True)


def _copy_tree(tree: Path) -> None:
    for path in committed_files():
        copy = tree / path.relative_to(PROJECT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy, follow_symlinks=False)


@cache
def _ordinary_user() -> int | None:
    """Return whom to run commands as in the place of root; none where we are not root, or where nobody can read us."""
    if os.geteuid() != 0:
        return None
    try:
        done = subprocess.run([sys.executable, "-c", "import agent.cli.main"], user=NOBODY, group=NOBODY, cwd="/")
    except PermissionError:
        return None
    return NOBODY if done.returncode == 0 else None
