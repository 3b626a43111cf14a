"""The host's service manager; below another root, or without a running systemd, only what can be done in files."""

from __future__ import annotations

import os
import re

from agent.fleet.commands import Ended, attempt, find, run
from agent.fleet.places import SERVICE, Places

_LOOK = f"Look into journalctl --unit {SERVICE} and codedeploy-agent status."


class ServiceManager:
    """systemctl for the agent's unit; ``running`` says whether there is a systemd that could start it."""

    def __init__(self, host: Places) -> None:
        self._systemctl = find("systemctl")
        self._root = [] if host.is_host else [f"--root={os.path.realpath(host.root)}"]
        self.running = host.is_host and self._systemctl is not None and os.path.isdir("/run/systemd/system")

    def version(self) -> int:
        """systemd's version, 0 where there is none."""
        if self._systemctl is None:
            return 0
        match = re.match(r"systemd (\d+)", attempt([self._systemctl, "--version"]).output)
        return int(match[1]) if match else 0

    def enable(self) -> None:
        """Have the service started at boot, also where another unit of this name was enabled. Raises FleetError."""
        if self._systemctl is not None:
            # Not "enable": that ends with an error where the link leads to the unit of an official package.
            run([self._systemctl, *self._root, "reenable", SERVICE], purpose="enable the service")

    def disable(self) -> None:
        """Have the service no longer started at boot; it is not an error if it never was."""
        if self._systemctl is not None:
            attempt([self._systemctl, *self._root, "disable", SERVICE])

    def reload(self) -> None:
        """Have units read anew. Raises FleetError."""
        if self.running:
            self._run("daemon-reload", purpose="have systemd read its units anew")

    def is_active(self) -> bool:
        """Whether the service runs, or is about to."""
        return self.running and self._attempt("is-active", SERVICE).output.strip() in ("active", "activating")

    def start(self) -> None:
        """Start the service and wait until it says that it is ready. Raises FleetError."""
        if self.running:
            self._run("start", SERVICE, purpose="start the service", remedy=_LOOK)

    def restart(self) -> None:
        """Start the service anew and wait until it is ready; deployments in progress go on. Raises FleetError."""
        if self.running:
            self._run("restart", SERVICE, purpose="restart the service", remedy=_LOOK)

    def stop(self) -> None:
        """Stop the service; it is not an error if it does not run or does not exist."""
        if self.running:
            self._attempt("stop", SERVICE)
            self._attempt("reset-failed", SERVICE)

    def _attempt(self, *arguments: str) -> Ended:
        assert self._systemctl is not None
        return attempt([self._systemctl, *arguments])

    def _run(self, *arguments: str, purpose: str, remedy: str = "") -> None:
        assert self._systemctl is not None
        run([self._systemctl, *arguments], purpose=purpose, remedy=remedy)
