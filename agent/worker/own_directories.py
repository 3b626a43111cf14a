"""The directories of the agent's own files: used only where no other account could exchange them."""

from __future__ import annotations

import os
import sys

from agent.config.settings import Settings
from agent.errors import AgentError, ConfigError
from agent.filesystem.way import UnsafeTransition, account, check_own

ALL = ("root_dir", "log_dir", "pid_dir")


def check_own_directories(settings: Settings, names: tuple[str, ...] = ALL) -> None:
    """Refuse directories that another account could lead elsewhere, unless ``unsafe_links`` is "follow".

    What lies there the agent believes, and what it writes there it writes as its own user. Raises ConfigError with the
    place and the ways out, OSError where the way cannot be walked.
    """
    if settings.unsafe_links == "follow":
        return
    for name in names:
        path = str(getattr(settings, name))
        # log_dir may be given to whoever reads the logs: nothing in it is believed, and its files are opened with care.
        found = check_own(path, owner=os.geteuid(), itself=name != "log_dir")
        if found is not None:
            text = f"{found.place} belongs to {account(found.owner)}, which could lead the agent to other files"
            raise ConfigError(f"The {name} {path} is not safe: {text}.", remedy=_remedy(found))


def own_directories_are_safe(settings: Settings) -> bool:
    """Return whether a worker may go on; what is wrong goes to the standard error output, for the log may lie there."""
    try:
        check_own_directories(settings)
    except (AgentError, OSError) as error:
        print(f"{settings.program_name}: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _remedy(found: UnsafeTransition) -> str:
    return (
        f"Choose a directory that is root's all the way, run this as {account(found.owner)}, give {found.place} to root"
        " (chown -h root), or set unsafe_links: follow."
    )
