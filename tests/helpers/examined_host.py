"""A host in a directory, and single checks of the doctor on it, each for a host that is well and for a broken one.

host = ExaminedHost(tmp_path)
host.passes("log-directory", "is there")
host.fails("log-directory", "does not exist", "doctor --fix")
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.doctor.examination import examine
from agent.doctor.finding import Finding, Result
from agent.doctor.subject import Subject
from agent.doctor.table import CHECKS
from agent.fleet.places import Places
from agent_host import AgentHost

BY_NAME = {check.name: check for check in CHECKS}

_PROGRAM = """
import json, sys
from pathlib import Path
from examined_host import ExaminedHost
host = ExaminedHost(Path(sys.argv[1]))
found = {name: host.finding(name) for name in sys.argv[2:]}
print(json.dumps({name: [one.result.value, one.text, one.remedy] for name, one in found.items()}))
"""


def examined_within(
    script: str,
    directory: Path,
    *names: str,
    unshare: Sequence[str] = ("unshare", "--mount"),
    environment: Mapping[str, str] | None = None,
) -> dict[str, Finding]:
    """Return what checks find on a host in a process of its own, after a shell script, in namespaces of their own."""
    words = ["sh", "-c", f'set -e; {script}\n"$@"', "sh", sys.executable, "-c", _PROGRAM, str(directory), *names]
    path = os.pathsep.join([*filter(None, [(environment or {}).get("PYTHONPATH")]), os.path.dirname(__file__)])
    variables = {**os.environ, **(environment or {}), "PYTHONPATH": path}
    done = subprocess.run([*unshare, *words], capture_output=True, text=True, env=variables, cwd="/")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {name: Finding(Result(result), text, remedy) for name, (result, text, remedy) in found.items()}


class ExaminedHost(AgentHost):
    """An agent's directories, with ``environment`` in the place of the agent's and ``files`` in that of ``/``."""

    def __init__(self, directory: Path, endpoint: str = "http://127.0.0.1:9", **settings: object) -> None:
        super().__init__(directory, endpoint, **settings)
        self.log.parent.mkdir(exist_ok=True)
        self.variables: dict[str, str] = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"}
        self.files = directory / "files"
        self.unit: dict[str, str] | None = None
        """What systemd says of the unit; None where no systemd runs."""

    @property
    def subject(self) -> Subject:
        """The host as it is now."""
        made = Subject(str(self.config), environment=self.variables, places=Places(str(self.files)))
        if self.unit is not None:
            made.once("unit", lambda: self.unit)
        return made

    def put(self, path: str, text: str = "") -> Path:
        """Write a file below the directory that stands for ``/``."""
        there = self.files / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)
        return there

    def finding(self, name: str) -> Finding:
        """What a check finds."""
        return examine(self.subject, [BY_NAME[name]])[0].finding

    def passes(self, name: str, text: str = "") -> None:
        """Expect that a check has nothing to complain about."""
        self._ends(name, Result.PASS, text, "")

    def warns(self, name: str, text: str, remedy: str) -> None:
        """Expect a warning with these parts of the finding and the remedy."""
        self._ends(name, Result.WARN, text, remedy)

    def fails(self, name: str, text: str, remedy: str) -> None:
        """Expect a failure with these parts of the finding and the remedy."""
        self._ends(name, Result.FAIL, text, remedy)

    def skips(self, name: str, text: str) -> None:
        """Expect that a check is not made, with this part of the reason."""
        self._ends(name, Result.SKIP, text, "")

    def _ends(self, name: str, result: Result, text: str, remedy: str) -> None:
        found = self.finding(name)
        assert (found.result, text in found.text, remedy in found.remedy) == (result, True, True), found

    def repair(self, name: str) -> list[str]:
        """Repair what a check finds, and return what was done."""
        repair = BY_NAME[name].repair
        assert repair is not None
        return repair(self.subject)
