"""How much of the disk a tree takes, without reading on for ever."""

from __future__ import annotations

import os
from typing import NamedTuple

ENTRIES_AT_MOST = 200_000
"""Files and directories of one tree; of one with more of them only a part is counted."""

Seen = set[tuple[int, int]]
"""Device and inode of what has several names and is counted."""


class DiskUse(NamedTuple):
    """Bytes on the disk; ``is_complete`` is false where there is more than was looked at, or may be read."""

    size: int = 0
    is_complete: bool = True


def disk_use(path: str, *, seen: Seen | None = None, at_most: int = ENTRIES_AT_MOST) -> DiskUse:
    """Return the blocks that a file or a tree takes.

    What has several names counts once, and not at all where it is in ``seen``, which learns of it. No link is followed.
    """
    seen = set() if seen is None else seen
    waiting, count, is_complete = [path], 0, True
    try:
        size = _count(os.lstat(path), seen)
    except FileNotFoundError:
        return DiskUse()
    except OSError:
        return DiskUse(is_complete=False)
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    count += 1
                    if count > at_most:
                        return DiskUse(size, is_complete=False)
                    size += _count(entry.stat(follow_symlinks=False), seen)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it is removed meanwhile, or is a file
        except OSError:
            is_complete = False
    return DiskUse(size, is_complete=is_complete)


def existing_directory(path: str) -> str:
    """Return a path, or the lowest directory above it that exists."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path


def _count(status: os.stat_result, seen: Seen) -> int:
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return 0
    if status.st_nlink > 1:
        seen.add(identity)
    return status.st_blocks * 512
