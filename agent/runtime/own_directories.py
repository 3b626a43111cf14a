"""The directories of the agent's own files: used only where no other account could exchange them."""

from __future__ import annotations

import os
import sys

from agent.config.settings import Settings
from agent.errors import AgentError, ConfigError
from agent.filesystem.way import ForeignPart, account, first_foreign_part

ALL = ("root_dir", "log_dir", "pid_dir")


def check_own_directories(settings: Settings, names: tuple[str, ...] = ALL) -> None:
    """Refuse directories that another account could exchange, unless ``unsafe_links`` is "follow".

    The agent believes what it finds there, and writes there as its own user. Raises ConfigError with the part of the
    path and the ways out, OSError where the path cannot be walked.
    """
    if settings.unsafe_links == "follow":
        return
    for name in names:
        path = str(getattr(settings, name))
        # Another account may own log_dir to read the logs: the agent believes nothing in it.
        found = first_foreign_part(path, owner=os.geteuid(), itself=name != "log_dir")
        if found is not None:
            text = f"{found.path} belongs to {account(found.owner)}, which could lead the agent to other files"
            raise ConfigError(f"The {name} {path} is not safe: {text}.", remedy=_remedy(found))


def own_directories_are_safe(settings: Settings) -> bool:
    """Return whether a worker may go on; print why not to the standard error output, as the log may be affected."""
    try:
        check_own_directories(settings)
    except (AgentError, OSError) as error:
        print(f"{settings.program_name}: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _remedy(found: ForeignPart) -> str:
    return (
        f"Choose a directory that is root's all the way, run this as {account(found.owner)}, give {found.path} to root"
        " (chown -h root), or set unsafe_links: follow."
    )
