"""The configuration file: where it is looked for, and how it is read.

Nothing here needs a YAML parser until there is a file, so that other processes never load one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
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
    """Settings, the files that they came from (none: only defaults) and what deserves a warning in them.

    ``origins`` names the file of each setting that stands in one.
    """

    settings: Settings
    files: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()
    origins: Mapping[str, str] = {}


def load(explicit: str | None = None, *, environment: Mapping[str, str] = os.environ) -> Loaded:
    """Read the agent's settings.

    ``explicit`` is the file that the command line names; else the environment variable
    CODEDEPLOY_AGENT_CONFIG_FILE, else the first of ``DEFAULT_FILES`` that exists, else all defaults. The files of
    its drop-in directory are read after it. Raises ConfigError where a file that was named is missing or a file cannot
    be read, SettingsError with every problem in them. The order is that of the official 2.x, with 1.8.1's second
    directory; drop-in directories are ours.
    """
    named = explicit or environment.get(ENVIRONMENT_VARIABLE)
    path = _configuration_file(named)
    files = [*([path] if named or os.path.isfile(path) else []), *_drop_ins(path)]
    if not files:
        return Loaded(Settings())
    from agent.config.parse import FORMAT, parse_all  # brings the YAML parser

    settings, warnings, origins = parse_all({file: _read(file, FORMAT.max_size + 1) for file in files})
    return Loaded(settings, tuple(files), warnings, origins)


def configuration_paths(named: str | None) -> list[str]:
    """Return every path that decides about the settings: the configuration file, its drop-in directory and files.

    They need not exist. A directory that cannot be read has no files here; reading the settings says so.
    """
    path = _configuration_file(named)
    paths = [path, _drop_in_directory(path)]
    with suppress(ConfigError):
        paths += _drop_ins(path)
    return paths


def load_usable(explicit: str | None = None) -> tuple[Settings, ConfigError | None]:
    """Read the agent's settings as ``load`` does; where they have problems return the usable ones and the error."""
    try:
        return load(explicit).settings, None
    except SettingsError as error:
        return error.usable, error
    except ConfigError as error:
        return Settings(), error


def _configuration_file(named: str | None) -> str:
    return named or next(filter(os.path.isfile, DEFAULT_FILES), DEFAULT_FILES[0])


def _drop_in_directory(path: str) -> str:
    return f"{path.removesuffix('.yml').removesuffix('.yaml')}.d"


def _drop_ins(path: str) -> list[str]:
    """Return the files that add to a configuration file, sorted by name: ``codedeployagent.d/*.yml``.

    Names that begin with a dot are those of editors. Raises ConfigError where the directory cannot be read.
    """
    directory = _drop_in_directory(path)
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(
            f"The directory {directory} of the configuration cannot be read: {error.strerror}.",
            remedy=remedy_for(error, otherwise=_UNREADABLE),
        ) from error
    return [os.path.join(directory, name) for name in names if name.endswith((".yml", ".yaml")) and name[0] != "."]


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
