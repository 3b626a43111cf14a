"""A directory in which the examples are deployed, as their READMEs say: with the script ``try``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "appspec-examples"


class Host:
    """One directory to deploy into."""

    def __init__(self, directory: Path, program: str) -> None:
        self.directory = directory
        self.environment = {**os.environ, "CODEDEPLOY_LOCAL": program, "LC_ALL": "C.UTF-8"}

    def __truediv__(self, name: str) -> Path:
        return self.directory / name

    def attempt(self, revision: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Deploy and tell how it went."""
        return subprocess.run(
            [str(EXAMPLES / "try"), revision, str(self.directory), *options],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def deploy(self, revision: str, *options: str) -> str:
        """Deploy what must succeed; gives all that was written."""
        done = self.attempt(revision, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def fail(self, revision: str, *options: str) -> str:
        """Deploy what must fail; gives all that was written."""
        done = self.attempt(revision, *options)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def tree(self, name: str) -> dict[str, str]:
        """The files below a directory with their content."""
        top = self / name
        return {str(path.relative_to(top)): path.read_text() for path in sorted(top.rglob("*")) if path.is_file()}
