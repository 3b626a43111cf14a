"""The configuration file: where it is looked for, and how it is read.

Nothing here needs a YAML parser until there is a file, so that other processes never load one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from agent.config.settings import Settings, SettingsError
from agent.errors import ConfigError, Problem
from agent.filesystem.reasons import remedy_for

DEFAULT_FILES = (
    "/etc/codedeploy-agent/conf/codedeployagent.yml",
    "/opt/codedeploy-agent/conf/codedeployagent.yml",
)
"""Where the official agents keep their configuration; the first that exists counts."""

ENVIRONMENT_VARIABLE = "CODEDEPLOY_AGENT_CONFIG_FILE"

_UNREADABLE = "Name one that you may read with --config-file (codedeploy-local: -c), or leave the option out."


class Loaded(NamedTuple):
    """Settings, the file that they came from (None: only defaults) and what deserves a warning in it."""

    settings: Settings
    path: str | None = None
    warnings: tuple[Problem, ...] = ()


def load(explicit: str | None = None, *, environment: Mapping[str, str] = os.environ) -> Loaded:
    """Read the agent's settings.

    ``explicit`` is the file that the command line names; else the environment variable
    CODEDEPLOY_AGENT_CONFIG_FILE, else the first of ``DEFAULT_FILES`` that exists, else all defaults.
    Raises ConfigError where a file that was named is missing or a file cannot be read, SettingsError with
    every problem in it. The order is that of the official 2.x, with 1.8.1's second directory.
    """
    path = explicit or environment.get(ENVIRONMENT_VARIABLE)
    if not path:
        path = next((candidate for candidate in DEFAULT_FILES if os.path.isfile(candidate)), None)
        if path is None:
            return Loaded(Settings())
    from agent.config.parse import FORMAT, parse  # brings the YAML parser

    settings, warnings = parse(_read(path, FORMAT.max_size + 1), filename=path)
    return Loaded(settings, path, warnings)


def load_usable(explicit: str | None = None) -> tuple[Settings, ConfigError | None]:
    """Read the agent's settings as ``load`` does; where they have problems return the usable ones and the error."""
    try:
        return load(explicit).settings, None
    except SettingsError as error:
        return error.usable, error
    except ConfigError as error:
        return Settings(), error


def _read(path: str, limit: int) -> bytes:
    try:
        # Not blocking, or the agent would wait for ever for somebody to write to a pipe of that name; <(...) of a shell
        # is a pipe too, and has its writer already.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            os.set_blocking(file.fileno(), True)
            is_pipe = stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
            data = file.read(limit)
    except OSError as error:
        raise ConfigError(
            f"The configuration file {path} cannot be read: {error.strerror}.",
            remedy=remedy_for(error, otherwise=_UNREADABLE),
        ) from error
    if is_pipe and not data:
        raise ConfigError(
            f"The configuration file {path} is a pipe, and no process writes to it.",
            remedy="Name a file, or something that writes: --config-file <(...).",
        )
    return data
