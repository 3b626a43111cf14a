"""pytest-testinfra's view of a booted host: its commands run where BootedHost.run() runs them."""

from __future__ import annotations

from typing import Protocol

from testinfra.backend.base import BaseBackend, CommandResult


class Runner(Protocol):
    """What is needed of a host."""

    name: str

    def run(self, command: str, *, check: bool) -> tuple[int, str, str]:
        """Run a shell command line inside."""
        ...


class BootedHostBackend(BaseBackend):
    """Runs testinfra's commands inside a booted host."""

    NAME = "booted-host"

    def __init__(self, host: Runner) -> None:
        """Look at one host; it may be rebooted meanwhile."""
        super().__init__(host.name)
        self._booted = host

    def run(self, command: str, *args: str, **kwargs: object) -> CommandResult:
        """Run a command line with its arguments quoted."""
        line = self.get_command(command, *args)
        status, stdout, stderr = self._booted.run(line, check=False)
        return self.result(status, line.encode(), stdout, stderr)
