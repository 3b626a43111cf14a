from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import contextmanager

import pytest

from revisions import hooks, write_revision


class Console:
    """The local command in a directory of its own, with a configuration of its own."""

    def __init__(self, top, program):
        self.top = str(top)
        self.program = program("codedeploy-local")
        self.root = f"{top}/root"
        self.destination = f"{top}/dest"
        self.bundle = f"{top}/bundle"
        self.config = f"{top}/agent.yml"
        self.configure()

    def configure(self, **settings):
        values = {"root_dir": self.root, "log_dir": f"{self.top}/log", **settings}
        with open(self.config, "w", encoding="utf-8") as file:
            json.dump(values, file)

    def revision(self, files=None, *, appspec="", **events):
        """Write the bundle: one file to install, the given ones, and scripts by event."""
        install = f"files:\n  - source: app\n    destination: {self.destination}\n"
        files = {"app/index.html": "hello\n", **(files or {})}
        write_revision(self.bundle, files, appspec=install + appspec + (hooks(**events) if events else ""))

    def command(self, *arguments):
        return [self.program, "-c", self.config, *arguments]

    def run(self, *arguments, cwd=None, env=None, **options):
        return subprocess.run(
            self.command(*arguments),
            cwd=cwd or self.bundle,
            env={**os.environ, "TZ": "UTC", **(env or {})},
            capture_output=True,
            text=True,
            errors="surrogateescape",
            stdin=subprocess.DEVNULL,
            check=False,
            **options,
        )

    @contextmanager
    def running(self, *arguments):
        """The command while it runs; whatever is left of it is killed at the end."""
        with subprocess.Popen(
            self.command(*arguments), cwd=self.bundle, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)

    def directory(self, result):
        """The deployment directory that a run has named."""
        return result.stdout.split("from within folder ")[1].splitlines()[0]


@pytest.fixture
def console(tmp_path, program):
    return Console(tmp_path, program)
