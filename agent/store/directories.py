"""Making the directories of the layout: durably, and each with its mode whatever the umask is."""

from __future__ import annotations

import os

from agent.errors import AgentError
from agent.filesystem.durable import sync_directory
from agent.store.layout import OPEN, Layout


class RootDirectoryError(AgentError):
    """What the agent needs below its root directory cannot be made."""


def make_deployment_directory(layout: Layout, group_id: str, deployment_id: str) -> str:
    """Make the directory of a deployment and those above it; give its path.

    Where the layout is not the open one, what is open below the root directory is closed.
    Raises SpecificationError for ids that are not file names, RootDirectoryError where a directory cannot be made.
    """
    directory = layout.deployment(group_id, deployment_id)
    _make(directory, layout.modes.passage)
    if layout.modes is not OPEN:
        _close(layout)
    return directory


def make_instructions_directory(layout: Layout) -> None:
    """Make the directory of pointers and clean-up lists. Raises RootDirectoryError."""
    _make(layout.root_dir, layout.modes.passage)
    _make(layout.instructions, layout.modes.instructions)


def make_state_directory(layout: Layout, directory: str) -> None:
    """Make ``agent-state`` and a directory in it, closed to everybody else. Raises RootDirectoryError."""
    _make(layout.root_dir, layout.modes.passage)
    _make(directory, 0o700)


def make_shared_directory(layout: Layout, directory: str) -> None:
    """Make a directory below the root directory that the official agents use too. Raises RootDirectoryError."""
    _make(layout.root_dir, layout.modes.passage)
    _make(directory, layout.modes.instructions)


def _close(layout: Layout) -> None:
    from agent.store.restrict import close_to_others  # few hosts ask for this

    try:
        close_to_others(layout)
    except OSError as error:
        raise RootDirectoryError(
            f"{layout.root_dir} cannot be closed to other users, as the setting restrict_agent_dir_permissions wants:"
            f" {error.strerror}.",
            remedy="Give it to the user that the agent runs as, with everything in it, or remove the setting.",
        ) from error


def _make(directory: str, mode: int) -> None:
    missing = []
    while not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    try:
        for path in reversed(missing):
            try:
                os.mkdir(path, mode)
            except FileExistsError:
                if not os.path.isdir(path):
                    raise
                continue
            os.chmod(path, mode)
            # What is written durably into a directory is only there after a power cut if the directory is.
            sync_directory(os.path.dirname(path))
    except OSError as error:
        raise RootDirectoryError(
            f"The directory {error.filename} cannot be made: {error.strerror}.",
            remedy="Name a configuration file whose root_dir is a directory that you may write to.",
        ) from error
