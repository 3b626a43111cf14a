"""The help texts in README.md: what it shows, what the programs print, and how the one is brought to the other.

Run as a program (``make readme``) it writes the texts anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"(```console\n\$ )((?:codedeploy-agent|codedeploy-local)[a-z -]* --help)\n(.*?)(```)", re.DOTALL)


def shown() -> dict[str, str]:
    """The commands that the README shows the help of, with the text it shows."""
    return {match[2]: match[3] for match in BLOCK.finditer(README.read_text())}


def printed(command: str) -> str:
    """What a command of this environment prints, on a terminal of a hundred columns."""
    name, *arguments = command.split()
    program = os.path.join(os.path.dirname(sys.executable), name)
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "100"}
    done = subprocess.run([program, *arguments], capture_output=True, text=True, env=environment, check=True)
    return done.stdout.rstrip() + "\n"


def words(text: str) -> list[str]:
    """The words of a help text as Python 3.13 writes it: before, a short option repeats the name of its value."""
    return re.sub(r"(-\w) (\S+), (--[\w-]+) \2", r"\1, \3 \2", " ".join(text.split())).split()


if __name__ == "__main__":
    text = BLOCK.sub(lambda match: f"{match[1]}{match[2]}\n{printed(match[2])}{match[4]}", README.read_text())
    README.write_text(text)
