"""A configuration that changes while the agent runs: what takes effect at once, and what needs a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable

from agent.config.file import configuration_paths
from agent.config.settings import Settings
from agent.daemon.startup_state import StartupState
from agent.daemon.watch import FileWatch
from agent.identity.on_premises import OnPremises

NEED_RESTART = (
    "program_name",
    "log_dir",
    "pid_dir",
    "root_dir",
    "ongoing_deployment_tracking",
    "log_format",
    "restrict_log_dir_permissions",
    "disable_core_dumps",
)
"""Settings that the running agent has built itself upon: its lock, its logs, its records."""

_log = logging.getLogger(__name__)


def merge(old: Settings, new: Settings) -> tuple[Settings, list[str], list[str]]:
    """The settings that count from now on; the keys that have changed, and those that need a restart to change."""
    changed = [key for key in Settings._fields if getattr(old, key) != getattr(new, key)]
    late = [key for key in changed if key in NEED_RESTART]
    merged = new._replace(**{key: getattr(old, key) for key in late})
    return merged, [key for key in changed if key not in late], late


def identity_change(old: OnPremises | None, new: OnPremises | None) -> str:
    """Return a line about a replaced on-premises identity: from what to what, without secrets."""
    before, after = _identity(old), _identity(new)
    if before == after:
        return f"The on-premises identity {after} has another secret key"
    return f"The on-premises identity was replaced: it was {before}, and is {after} now"


def _identity(found: OnPremises | None) -> str:
    if found is None:
        return "not set"
    by = f"credentials file {found.credentials_file}" if found.credentials_file else f"access key {found.access_key}"
    return f"{found.arn} in {found.region} ({by})"


class Watch:
    """Watches the files that the agent's startup state comes from; ``on_change`` may be called from another thread."""

    def __init__(self, startup_state: StartupState, config_file: str | None, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._watch: FileWatch | None = None
        self._paths: tuple[str, ...] = ()
        self.follow(startup_state, config_file)

    def follow(self, startup_state: StartupState, config_file: str | None) -> None:
        """Watch the files that this startup state came from, and those that they name."""
        found: list[str | None] = [*configuration_paths(config_file), startup_state.settings.on_premises_config_file]
        if startup_state.on_premises is not None:
            found.append(startup_state.on_premises.credentials_file)
        paths = tuple(path for path in found if path)
        if paths == self._paths:
            return
        watched_before = bool(self._paths)
        self.close()
        self._paths = paths
        self._watch = FileWatch(paths, lambda changed: self._on_change())
        if watched_before:
            self._on_change()  # a file may have changed after it was read and before it was watched

    def close(self) -> None:
        """Watch nothing any more."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
