"""What a command needs to know of this host, and whom it tells while it works."""

from __future__ import annotations

from typing import NamedTuple

from agent.config.settings import Settings
from agent.store.layout import OPEN, RESTRICTED, Layout


class Observer:
    """Hears about a command while it runs; this one ignores everything. None of its methods may raise."""

    def header(self, text: str) -> None:
        """A lifecycle event's scripts begin, or a script does: ``LifecycleEvent - X``, ``Script - X``."""

    def output(self, stream: str, data: bytes) -> None:
        """A script has written to "stdout" or "stderr"."""

    def progress(self, done: int, total: int, unit: str) -> None:
        """A long step has come so far; ``unit`` is "bytes" or "files"."""

    def notice(self, text: str) -> None:
        """Something that does not fail the command, but that a person should know."""


class Host(NamedTuple):
    """Where and how commands are carried out.

    ``working_folder`` is where scripts start and where relative destinations begin. ``custom_events`` are names
    beside the lifecycle table that may be executed as hooks of the current revision; only the local command has any.
    """

    settings: Settings
    layout: Layout
    working_folder: str
    observer: Observer = Observer()
    custom_events: frozenset[str] = frozenset()


def layout_of(settings: Settings) -> Layout:
    """The paths below the root folder that the settings name."""
    return Layout(
        settings.root_dir,
        program_name=settings.program_name,
        tracking_name=settings.ongoing_deployment_tracking,
        modes=RESTRICTED if settings.restrict_agent_dir_permissions else OPEN,
    )
