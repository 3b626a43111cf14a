"""What a command needs to know of this host, and whom it tells while it works."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from agent.config.settings import Settings
from agent.store.layout import OPEN, RESTRICTED, Layout

if TYPE_CHECKING:  # what a command does not need it is spared the import of
    from agent.bundle.fetch import FetchOptions
    from agent.hooks.context import RunningScript
    from agent.runtime.prepared import Prepared
    from agent.traffic.policy import Policy
    from agent.traffic.provider import BalancerAccess


RUN_DIRECTORY = "/run/codedeploy-agent"
"""For root; another user may write nothing there, and has its ``pid_dir``."""

_LONGEST_NAME = 200


class Observer:
    """Hears about a command while it runs; this one ignores everything. None of its methods may raise."""

    def header(self, text: str) -> None:
        """A lifecycle event's scripts begin, or a script does: ``LifecycleEvent - X``, ``Script - X``."""

    def output(self, stream: str, data: bytes) -> None:
        """A script has written to "stdout" or "stderr"."""

    def progress(self, done: int, total: int, unit: str) -> None:
        """A long step has come so far; ``unit`` is "bytes" or "files"."""

    def expect(self, seconds: float) -> None:
        """The next step may take so long before anything else is heard of it."""

    def script_started(self, script: RunningScript) -> None:
        """A script's process exists."""

    def notice(self, text: str) -> None:
        """Something that does not fail the command, but that a person should know."""


class Host(NamedTuple):
    """Where and how commands are carried out.

    ``working_directory`` is where scripts start and where relative destinations begin. ``custom_events`` are names
    beside the lifecycle table that may be executed as hooks of the current revision; only the local command has any.
    ``remote`` gives the way to S3 and GitHub; it is called where a bundle is to be downloaded, and not before.
    ``traffic`` gives the way to the load balancers; None where they are not to be touched. ``core_limit`` is the soft
    limit on core dumps, in bytes, that scripts get; None leaves them this process's. ``events`` are those that the
    local command runs, None with the service; ``prepared`` is the revision that it has fetched before its first script.
    """

    settings: Settings
    layout: Layout
    working_directory: str
    observer: Observer = Observer()
    custom_events: frozenset[str] = frozenset()
    remote: Callable[[], FetchOptions] | None = None
    traffic: Callable[[Policy], BalancerAccess] | None = None
    core_limit: int | None = None
    events: tuple[str, ...] | None = None
    prepared: Prepared | None = None


def layout_of(settings: Settings) -> Layout:
    """The paths below the root directory that the settings name."""
    return Layout(
        settings.root_dir,
        program_name=settings.program_name,
        tracking_name=settings.ongoing_deployment_tracking,
        modes=RESTRICTED if settings.restrict_agent_dir_permissions else OPEN,
        kept=_kept(settings),
    )


def _kept(settings: Settings) -> str:
    """Return where root keeps what ``root_dir`` does not take: in memory.

    Long paths may share a directory, in which the names of commands keep them apart.
    """
    run = RUN_DIRECTORY if os.geteuid() == 0 else settings.pid_dir
    return os.path.join(run, "outcomes", settings.root_dir.strip("/").replace("/", "-")[-_LONGEST_NAME:])
