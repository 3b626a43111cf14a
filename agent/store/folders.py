"""Making the folders of the layout: durably, and each with its mode whatever the umask is."""

from __future__ import annotations

import os

from agent.errors import AgentError
from agent.filesystem.durable import sync_folder
from agent.store.layout import OPEN, Layout


class RootFolderError(AgentError):
    """What the agent needs below its root folder cannot be made."""


def make_deployment_folder(layout: Layout, group_id: str, deployment_id: str) -> str:
    """Make the folder of a deployment and those above it; give its path.

    Where the layout is not the open one, what is open below the root directory is closed.
    Raises SpecificationError for ids that are no file names, RootFolderError where a folder cannot be made.
    """
    folder = layout.deployment(group_id, deployment_id)
    _make(folder, layout.modes.passage)
    if layout.modes is not OPEN:
        _close(layout)
    return folder


def make_instructions_folder(layout: Layout) -> None:
    """Make the folder of pointers and clean-up lists. Raises RootFolderError."""
    _make(layout.root_dir, layout.modes.passage)
    _make(layout.instructions, layout.modes.instructions)


def make_state_folder(layout: Layout, folder: str) -> None:
    """Make ``agent-state`` and a folder in it, closed to everybody else. Raises RootFolderError."""
    _make(layout.root_dir, layout.modes.passage)
    _make(folder, 0o700)


def make_shared_folder(layout: Layout, folder: str) -> None:
    """Make a folder below the root folder that the official agents use too. Raises RootFolderError."""
    _make(layout.root_dir, layout.modes.passage)
    _make(folder, layout.modes.instructions)


def _close(layout: Layout) -> None:
    from agent.store.restrict import close_to_others  # few hosts ask for this

    try:
        close_to_others(layout)
    except OSError as error:
        raise RootFolderError(
            f"{layout.root_dir} cannot be closed to other users, as the setting restrict_agent_dir_permissions wants:"
            f" {error.strerror}.",
            remedy="Give it to the user that the agent runs as, with everything in it, or remove the setting.",
        ) from error


def _make(folder: str, mode: int) -> None:
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    try:
        for path in reversed(missing):
            try:
                os.mkdir(path, mode)
            except FileExistsError:
                if not os.path.isdir(path):
                    raise
                continue
            os.chmod(path, mode)
            # What is written durably into a folder is only there after a power cut if the folder is.
            sync_folder(os.path.dirname(path))
    except OSError as error:
        raise RootFolderError(
            f"The folder {error.filename} cannot be made: {error.strerror}.",
            remedy="Name a configuration file whose root_dir is a folder that you may write to.",
        ) from error
