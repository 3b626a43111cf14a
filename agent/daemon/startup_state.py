"""What the files of this host say: the settings and the on-premises identity.

They are YAML, and reading YAML takes memory that is never given back. So a short-lived child reads them, and the
supervisor, which lives for months, reads the child's JSON: ``python -m agent.daemon.startup_state [CONFIGURATION
FILE]``.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NamedTuple

from agent.config.settings import Settings
from agent.daemon.spawn import Child, collect, spawn_module
from agent.errors import AgentError, ConfigError
from agent.identity.on_premises import OnPremises
from agent.worker.handoff import known


class StartupState(NamedTuple):
    """The settings with the files that they came from, what deserves a warning, and the on-premises identity."""

    settings: Settings
    files: tuple[str, ...]
    warnings: tuple[str, ...]
    on_premises: OnPremises | None

    def __repr__(self) -> str:
        """Show what may be logged."""
        return f"StartupState(files={self.files!r}, on_premises={self.on_premises is not None})"


class UnreadableError(ConfigError):
    """The files of this host cannot be used as they are.

    ``settings`` are those that can be used all the same, ``paths`` the files that may have the mistake.
    """

    def __init__(self, message: str, *, settings: Settings, paths: tuple[str, ...]) -> None:
        super().__init__(message)
        self.settings = settings
        self.paths = paths


def start_reading(config_file: str | None) -> Child:
    """Start the child that reads the files, so that something else can be done meanwhile. Raises OSError."""
    arguments = [config_file] if config_file else []
    return spawn_module("agent.daemon.startup_state", *arguments, capture=True, environment=os.environ)


def read_startup_state(child: Child) -> StartupState:
    """Return what a child has read.

    Raises UnreadableError with everything that is wrong in the files, ConfigError, OSError.
    """
    status, output = collect(child)
    try:
        found: dict[str, Any] = json.loads(output)
    except ValueError as error:
        raise ConfigError(
            f"The configuration could not be read: the process that reads it ended with status {status}.",
            remedy="See what it printed to the standard error output.",
        ) from error
    if "error" in found:
        settings = Settings(**known(Settings, found["settings"]))
        raise UnreadableError(str(found["error"]), settings=settings, paths=tuple(found["paths"]))
    on_premises = found["on_premises"]
    return StartupState(
        settings=Settings(**known(Settings, found["settings"])),
        files=tuple(found["files"]),
        warnings=tuple(found["warnings"]),
        on_premises=OnPremises(**known(OnPremises, on_premises)) if on_premises else None,
    )


def _read(config_file: str | None) -> dict[str, Any]:
    # The child's alone, as is everything that brings in YAML.
    from agent.config.file import configuration_paths, load, load_usable
    from agent.identity.on_premises_file import read_on_premises

    try:
        loaded = load(config_file)
        found = read_on_premises(loaded.settings.on_premises_config_file)
    except AgentError as error:
        settings = load_usable(config_file)[0]
        paths = [*configuration_paths(config_file), settings.on_premises_config_file]
        return {"error": str(error), "settings": settings._asdict(), "paths": paths}
    return {
        "settings": loaded.settings._asdict(),
        "files": loaded.files,
        "warnings": [str(problem) for problem in (*loaded.warnings, *found.warnings)],
        "on_premises": found.on_premises._asdict() if found.on_premises else None,
    }


def main() -> int:
    """Print what the files say, or what is wrong with them, as JSON."""
    json.dump(_read(sys.argv[1] if len(sys.argv) > 1 else None), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
