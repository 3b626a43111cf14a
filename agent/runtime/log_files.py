"""Where the daemon and its workers write what they log: into the same file."""

from __future__ import annotations

import os

from agent import logs
from agent.config.settings import Settings


def set_up_logs(settings: Settings) -> None:
    """Send what is logged to the agent's log, which is shared by all of its processes."""
    logs.set_up(
        os.path.join(settings.log_dir, f"{settings.program_name}.log"),
        program_name=settings.program_name,
        verbose=settings.verbose,
        log_format=settings.log_format,
        restricted=settings.restrict_log_dir_permissions,
        daily=True,
    )
