"""The files of one log: the one in use, and the older ones by any of the names that rotations give them."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import NamedTuple

from agent.filesystem.regular import open_regular

_TRIES = 50
"""How often files are opened anew that were renamed meanwhile."""


class Opened(NamedTuple):
    """An open file of a log; ``identity`` is the same under another name."""

    path: str
    descriptor: int
    identity: tuple[int, int]


def older_files(path: str) -> list[str]:
    """Return the paths of the files that were put aside, oldest first. Raises OSError.

    They are ``NAME.log.0`` as Ruby's logger has them, ``NAME.20261123.1.log`` as the official agent 2.x, and
    ``NAME.log.1`` or ``NAME.log-20261123`` as logrotate; those that logrotate has packed end in ``.gz``.
    """
    directory, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    own, stem, suffix = re.escape(name), re.escape(stem), re.escape(suffix)
    pattern = re.compile(rf"(?:{own}[.-]\d+|{stem}\.\d{{8}}(?:\.\d+)?{suffix})(?:\.gz)?")
    found = []
    for entry in os.scandir(directory):
        if pattern.fullmatch(entry.name):
            with suppress(FileNotFoundError):
                found.append((entry.stat().st_mtime_ns, entry.path))
    return [path for _, path in sorted(found)]


def open_files(path: str) -> list[Opened]:
    """Open all files of a log, oldest first, as they were at one moment between two rotations; none where that fails.

    Raises OSError for what may not be read.
    """
    for _ in range(_TRIES):
        opened: list[Opened] = []
        try:
            for name in [*older_files(path), path]:
                with suppress(FileNotFoundError):
                    opened.append(_open(name))
            if [one.path for one in opened] == _current(path, opened):
                return opened
        except BaseException:
            close(opened)
            raise
        close(opened)
    return []


def close(files: list[Opened]) -> None:
    """Close files."""
    for one in files:
        os.close(one.descriptor)


def identity_of(path: str) -> tuple[int, int] | None:
    """Return which file has a name now, None where there is none or it cannot be looked at."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _open(path: str) -> Opened:
    descriptor = open_regular(path, os.O_RDONLY)
    status = os.fstat(descriptor)
    return Opened(path, descriptor, (status.st_dev, status.st_ino))


def _current(path: str, opened: list[Opened]) -> list[str]:
    """Return the names that the files should have now, where they are still those that were opened."""
    names = [name for name in [*older_files(path), path] if os.path.exists(name)]
    known = {one.path: one.identity for one in opened}
    return names if all(identity_of(name) == known.get(name) for name in names) else []
