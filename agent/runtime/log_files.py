"""Where the daemon and its workers write what they log: into the same file."""

from __future__ import annotations

import os
from collections.abc import Mapping

from agent import logs
from agent.config.settings import Settings

JOURNAL_SOCKET = "/run/systemd/journal/socket"
"""Where systemd's journal takes entries with fields, by its native protocol."""


def journal_socket(environment: Mapping[str, str], descriptor: int = 2) -> str:
    """Return the socket of the journal where systemd has connected this process's stderr to the journal; else empty."""
    try:
        stream = os.fstat(descriptor)
    except OSError:
        return ""
    return JOURNAL_SOCKET if environment.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}" else ""


def set_up_logs(settings: Settings) -> None:
    """Send what is logged to the agent's log, which its processes share, and to the journal under systemd."""
    logs.set_up(
        os.path.join(settings.log_dir, f"{settings.program_name}.log"),
        program_name=settings.program_name,
        verbose=settings.verbose,
        log_format=settings.log_format,
        restricted=settings.restrict_log_dir_permissions,
        daily=True,
        journal=journal_socket(os.environ),
    )
