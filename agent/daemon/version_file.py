"""The file that tells inventories which agent is installed: ``agent_version: ...``, as the official agents have it."""

from __future__ import annotations

import os

from agent import __version__
from agent.filesystem.durable import write_durably
from agent.filesystem.regular import read_regular

NAME = ".version"

PREFIX = "codedeploy-host-agent_"
"""Begins our version; no official one begins so (``OFFICIAL_1.8.1-...``, ``2.1.0``)."""

_LARGEST = 4096


def write_version(root_dir: str) -> bool:
    """Write ``.version`` beside the root directory; gives whether it says our version now.

    A file that an official agent has put there stays as it is: 1.8.1 sends its text to the service, and would send
    ours after a change back. Nothing is written into the file system's root, and nothing fails where it cannot be.
    """
    directory = os.path.dirname(os.path.normpath(root_dir))
    path = os.path.join(directory, NAME)
    content = f"agent_version: {PREFIX}{__version__}\n".encode()
    if directory == "/":
        return False
    try:
        found = read_regular(path, _LARGEST)
    except FileNotFoundError:
        found = b""
    except OSError:
        return False
    if found == content:
        return True
    if found and not found.startswith(f"agent_version: {PREFIX}".encode()):
        return False
    try:
        write_durably(path, content, mode=0o444)
    except OSError:
        return False
    return True
