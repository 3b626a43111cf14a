"""Where everything lies below the root directory; the names are those of the official agents."""

from __future__ import annotations

import os
from typing import NamedTuple

from agent.deployment.parse import safe_component
from agent.errors import SpecificationError

STATE = "agent-state"
INSTRUCTIONS = "deployment-instructions"
DEPLOYMENT_LOGS = "deployment-logs"


class Modes(NamedTuple):
    """The modes of what the agent makes below the root directory.

    ``passage`` is for directories that a script which runs as another user must pass through, ``instructions`` for
    the directory with pointers and clean-up lists.
    """

    passage: int = 0o755
    instructions: int = 0o755
    logs: int = 0o755
    state_file: int = 0o644
    log_file: int = 0o644


OPEN = Modes()
RESTRICTED = Modes(passage=0o711, instructions=0o700, logs=0o750, state_file=0o600, log_file=0o640)
"""What ``restrict_agent_dir_permissions`` asks for, as the official 2.x gives it.

The unpacked revisions keep the modes of their bundles, below directories that can be searched and not listed: what
a script that runs as another user is, it must be able to read.
"""


class Layout(NamedTuple):
    """The paths below one root directory; making a path touches nothing.

    Our own records below it are in ``agent-state`` and nowhere else, because the official agents count or read
    everything in the other directories.
    """

    root_dir: str
    program_name: str = "codedeploy-agent"
    tracking_name: str = "ongoing-deployment"
    modes: Modes = OPEN
    kept: str = ""
    """The directory for what the root directory does not take, lost when the host goes down; empty for none."""

    def group(self, group_id: str) -> str:
        """The directory with a deployment group's revisions.

        Raises SpecificationError where the id is not a single path component, or names a directory of the agent's own.
        """
        safe_component(group_id, "deployment group id")
        if group_id in (STATE, INSTRUCTIONS, DEPLOYMENT_LOGS, self.tracking_name):
            raise SpecificationError(
                f'The deployment group id "{group_id}" is the name of a directory that the agent keeps for itself.',
                remedy="Choose another name.",
            )
        return os.path.join(self.root_dir, group_id)

    def deployment(self, group_id: str, deployment_id: str) -> str:
        """The directory of one deployment. Raises SpecificationError where an id is not a single path component."""
        return os.path.join(self.group(group_id), safe_component(deployment_id, "deployment id"))

    @staticmethod
    def bundle(deployment: str) -> str:
        """The bundle in a deployment's directory; it has this name whatever its type."""
        return os.path.join(deployment, "bundle.tar")

    @staticmethod
    def archive(deployment: str) -> str:
        """The unpacked revision in a deployment's directory."""
        return os.path.join(deployment, "deployment-archive")

    @staticmethod
    def bundle_source(deployment: str) -> str:
        """The note on where a deployment's revision came from."""
        return os.path.join(deployment, ".bundle-source")

    @staticmethod
    def bundle_etag(deployment: str) -> str:
        """The ETag of a deployment's bundle, as S3 gave it."""
        return os.path.join(deployment, ".bundle-etag")

    @staticmethod
    def history(deployment: str) -> str:
        """The file that says what a deployment did, for people."""
        return os.path.join(deployment, ".history.jsonl")

    @staticmethod
    def script_log(deployment: str) -> str:
        """The log of a deployment's scripts."""
        return os.path.join(deployment, "logs", "scripts.log")

    @property
    def instructions(self) -> str:
        """The directory with clean-up lists, install instructions and pointers of all groups."""
        return os.path.join(self.root_dir, INSTRUCTIONS)

    def cleanup(self, group_id: str) -> str:
        """The list of what a group has installed."""
        return os.path.join(self.instructions, f"{group_id}-cleanup")

    def last_successful(self, group_id: str) -> str:
        """The pointer to the group's revision that was installed last with success."""
        return os.path.join(self.instructions, f"{group_id}_last_successful_install")

    def most_recent(self, group_id: str) -> str:
        """The pointer to the group's revision that was unpacked last."""
        return os.path.join(self.instructions, f"{group_id}_most_recent_install")

    def journal(self, group_id: str) -> str:
        """The journal of a group's Install that is under way or was interrupted."""
        return os.path.join(self.state, "install", f"{group_id}.journal")

    @property
    def deployments_log(self) -> str:
        """The log of all deployments' scripts."""
        return os.path.join(self.root_dir, DEPLOYMENT_LOGS, f"{self.program_name}-deployments.log")

    def tracking(self, deployment_id: str) -> str:
        """The file that says that a command of a deployment is in progress."""
        return os.path.join(self.root_dir, self.tracking_name, safe_component(deployment_id, "deployment id"))

    @property
    def state(self) -> str:
        """Our own directory; nobody else may read it."""
        return os.path.join(self.root_dir, STATE)

    @property
    def traffic(self) -> str:
        """The directory of what is known of this host at its load balancers."""
        return os.path.join(self.state, "traffic")

    @property
    def locks(self) -> str:
        """The directory of the locks."""
        return os.path.join(self.state, "locks")

    def group_lock(self, group_id: str) -> str:
        """The lock of one deployment group."""
        return os.path.join(self.locks, f"group-{group_id}.lock")

    @property
    def install_lock(self) -> str:
        """The lock around every Install, whatever its group."""
        return os.path.join(self.locks, "install.lock")
