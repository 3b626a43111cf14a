"""A machine for user data: its system is a file, its package managers are stand-ins, and they install its Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from fleet_box import PROJECT, StandIns, wheel, write_archive

USERDATA = PROJECT / "userdata"
SCRIPT = USERDATA / "codedeploy-agent.sh"

_AGENT = """
import json, os, sys
json.dump({"argv": sys.argv[1:], "proxy": os.environ.get("https_proxy"), "texts": [
    open(path).read() for path in sys.argv if path.endswith(".yml")]}, open(os.environ["NOTE"], "w"))
if "STATUS" in os.environ:
    print("first line", "the disk is full", sep="\\n", file=sys.stderr)
    sys.exit(int(os.environ["STATUS"]))
"""


def archive_files() -> dict[str, bytes]:
    """A wheelhouse whose agent notes what it is told."""
    name, data = wheel("codedeploy_host_agent", "9.1", {"agent/__init__.py": "", "agent/__main__.py": _AGENT})
    return {name: data, "requirements.txt": b""}


class Machine:
    """Runs a script with stand-ins for the package managers, and with no Python but what they install."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.programs = StandIns(directory / "programs")
        self.log = directory / "install.log"
        self.note = directory / "note.json"
        self.place, self.sha256 = write_archive(directory / "source.tar.gz", archive_files())
        for tool in ("date", "mkdir", "mktemp", "rm", "sleep", "cat", "sed", "sh", "env"):
            os.symlink(f"/usr/bin/{tool}", self.programs.directory / tool)
        self.programs.add("id", "echo 0")

    def is_system(self, name: str, version: str, *, like: str = "") -> None:
        """Say in os-release what the system is."""
        text = f'NAME="The {name} system"\nID="{name}"\nID_LIKE="{like}"\nVERSION_ID="{version}"\n'
        (self.directory / "os-release").write_text(text)

    def is_debian_with_python(self) -> None:
        """Have all that is needed from the start."""
        self.is_system("debian", "12")
        self.programs.add("apt-get")
        os.symlink(sys.executable, self.programs.directory / "python3")

    def python(self, name: str) -> str:
        """The shell that makes a Python appear under a name."""
        return f"/usr/bin/ln -sf {sys.executable} {self.programs.directory}/{name}"

    def run(self, script: Path = SCRIPT, **parameters: str) -> subprocess.CompletedProcess[str]:
        """Run a script as root would, with the wheelhouse's parameters in the environment."""
        environment = {"AGENT_SOURCE": self.place, "AGENT_SHA256": self.sha256, **self.environment(), **parameters}
        return subprocess.run(["/bin/sh", script], env=environment, capture_output=True, text=True, cwd=self.directory)

    def environment(self) -> dict[str, str]:
        """What keeps a script inside the machine."""
        return {
            "PATH": str(self.programs.directory),
            "NOTE": str(self.note),
            "AGENT_LOG": str(self.log),
            "AGENT_OS_RELEASE": str(self.directory / "os-release"),
            "AGENT_PAUSE": "0",
            "TMPDIR": str(self.directory),
        }

    def arguments(self) -> list[str]:
        """How the agent was called."""
        return list(yaml.safe_load(self.note.read_text())["argv"])
