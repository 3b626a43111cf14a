"""Where an Install keeps what it must remember, below the agent's root directory."""

from __future__ import annotations

import os
from typing import NamedTuple

from agent.filesystem.durable import remove_if_there
from agent.install.cleanup_list import CleanupFile
from agent.install.journal import Journal


class InstallState(NamedTuple):
    """The files of Installs below ``root_dir``; names and formats outside ``agent-state`` are the official agents'."""

    root_dir: str
    file_mode: int = 0o644
    directory_mode: int = 0o755

    @property
    def instructions_dir(self) -> str:
        """The directory that the official agents read too."""
        return os.path.join(self.root_dir, "deployment-instructions")

    @property
    def journal_dir(self) -> str:
        """Our own directory for open journals."""
        return os.path.join(self.root_dir, "agent-state", "install")

    @property
    def extra_dir(self) -> str:
        """Our own directory for names that a clean-up list cannot hold."""
        return os.path.join(self.root_dir, "agent-state", "cleanup")

    def sweep(self) -> None:
        """Remove half-written files that a kill has left; only of those that are written under the install lock."""
        endings = {
            self.journal_dir: (".journal",),
            self.extra_dir: (".json",),
            self.instructions_dir: ("-cleanup", "-install.json", "_last_successful_install"),
        }
        for directory, written in endings.items():
            for name in os.listdir(directory) if os.path.isdir(directory) else []:
                if name.startswith(".") and name.endswith(tuple(f"{ending}.new~" for ending in written)):
                    remove_if_there(os.path.join(directory, name))

    def journal(self, group: str) -> Journal:
        """The journal of a deployment group."""
        return Journal(os.path.join(self.journal_dir, f"{group}.journal"))

    def cleanup_file(self, group: str) -> CleanupFile:
        """The clean-up list of a deployment group."""
        extra = os.path.join(self.extra_dir, f"{group}.json")
        return CleanupFile(os.path.join(self.instructions_dir, f"{group}-cleanup"), extra, self.file_mode)

    def instructions(self, group: str) -> str:
        """The file with the instructions of a group's newest Install."""
        return os.path.join(self.instructions_dir, f"{group}-install.json")

    def last_successful(self, group: str) -> str:
        """The pointer to the deployment whose Install succeeded last."""
        return os.path.join(self.instructions_dir, f"{group}_last_successful_install")
