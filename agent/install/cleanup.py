"""What removing the old revision's files would do, worked out without touching anything."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Sequence
from typing import NamedTuple

from agent.install.cleanup_list import SEMANAGE_PREFIX
from agent.install.host import DIRECTORY, HostFiles, Link, View


class Cleanup(NamedTuple):
    """What a clean-up will remove: real paths, in the order of removal; ``rules`` are paths of SELinux rules.

    ``links`` are the host's links that lead there. ``mounted`` are the listed mount points, which cannot be removed,
    and the listed directories above them.
    """

    files: list[str]
    directories: list[str]
    rules: list[str]
    links: tuple[Link, ...] = ()
    mounted: tuple[str, ...] = ()


# A line that the kernel cannot follow names nothing that could be removed.
_NOTHING_THERE = frozenset({errno.ELOOP, errno.ENAMETOOLONG})


def plan_cleanup(paths: Sequence[str], host: HostFiles, mounts: Collection[str] = ()) -> Cleanup:
    """Work out what is removed for a clean-up list, last line first. Raises OSError.

    The rules are the official agent's: links and files go, changed since or not; a directory goes when it is empty by
    then; what is missing is passed over; a listed directory that is a file now goes, as does the reverse.
    """
    now = View(host)
    files: list[str] = []
    directories: list[str] = []
    rules: list[str] = []
    gone: set[str] = set()
    ways: dict[str, None] = {}
    listed: dict[str, None] = {}
    for path in reversed(paths):
        if path.startswith(SEMANAGE_PREFIX):
            rules.append(path.removeprefix(SEMANAGE_PREFIX))
            continue
        real, kind = _look_up(path, now)
        if real in gone:
            continue
        if kind is None:
            continue
        listed[real] = None
        if kind == DIRECTORY and (real == "/" or any(f"{real}/{name}" not in gone for name in host.children(real))):
            continue
        gone.add(real)
        (directories if kind == DIRECTORY else files).append(real)
        ways[path[: path.rfind("/")]] = None
    links = dict.fromkeys(link for way in ways for link in now.links(_tidied(way)))
    points = [path for path in listed if path in mounts]
    mounted = [path for path in listed if any(f"{point}/".startswith(f"{path}/") for point in points)]
    return Cleanup(files, directories, rules, tuple(links), tuple(mounted))


def _look_up(path: str, now: View) -> tuple[str, str | None]:
    """Return the real path of a line and what is there."""
    try:
        real = now.real(_tidied(path))
        return real, now.kind(real)
    except OSError as error:
        if error.errno not in _NOTHING_THERE:
            raise
        return path, None


def _tidied(path: str) -> str:
    if path.startswith("/") and "//" not in path and "/." not in path and not path.endswith("/"):
        return path  # as most are; a list can name thousands
    return os.path.normpath("/" + path.lstrip("/"))
