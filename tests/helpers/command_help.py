"""The help texts in docs/commands.md, and how they are taken from the programs.

Run as a program (``make commands``) it writes the document anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COMMANDS = Path(__file__).resolve().parents[2] / "docs" / "commands.md"
HEAD = """# Commands

The help of every command, as the programs print it. `make commands` writes this document; a test compares it with the
programs.

"""
_BLOCK = re.compile(r"```console\n\$ ([^\n]*) --help\n(.*?)```", re.DOTALL)
_LIST = re.compile(r"^ {4}([a-z][a-z-]*)(?= |$)", re.MULTILINE)


def documented() -> dict[str, str]:
    """Return the commands of docs/commands.md with their help texts."""
    return {match[1]: match[2] for match in _BLOCK.finditer(COMMANDS.read_text())}


def printed() -> dict[str, str]:
    """Return every command of this environment with the help that it prints, each text once."""
    agent = _help("codedeploy-agent")
    commands = ["codedeploy-local", *(f"codedeploy-agent {name}" for name in _subcommands(agent))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        texts = dict(zip(commands, pool.map(_help, commands), strict=True))
    return {"codedeploy-agent": agent} | {command: text for command, text in texts.items() if text != agent}


def words(text: str) -> list[str]:
    """Return the words of a help text as Python 3.13 writes it.

    Earlier versions repeat the name of an option's value after each of its names.
    """
    return re.sub(r"(--?[\w-]+) [A-Z]\S*(?: \[[^\]]*\])?, (?=--)", r"\1, ", " ".join(text.split())).split()


def _help(command: str) -> str:
    """Return the help of a command, on a terminal of a hundred columns."""
    name, *arguments = command.split()
    program = os.path.join(os.path.dirname(sys.executable), name)
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "100"}
    done = subprocess.run([program, *arguments, "--help"], capture_output=True, text=True, env=environment, check=True)
    return done.stdout.rstrip() + "\n"


def _subcommands(text: str) -> list[str]:
    """Return the names in the list of commands of a help text."""
    _, _, after = text.partition("\n  COMMAND\n")
    return _LIST.findall(after.partition("\n\n")[0])


def _document(texts: dict[str, str]) -> str:
    sections = [f"## {command}\n\n```console\n$ {command} --help\n{text}```\n" for command, text in texts.items()]
    return HEAD + "\n".join(sections)


if __name__ == "__main__":
    COMMANDS.write_text(_document(printed()))
