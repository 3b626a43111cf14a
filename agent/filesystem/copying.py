"""Copy bytes between open files by the quickest way that the kernel offers for the pair."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from agent.filesystem.durable import write_all

SMALL = 128 * 1024
"""Bytes up to which one read and one write are quicker than asking the kernel for a copy."""

CHUNK = 1024 * 1024
"""Bytes per system call for larger files: few calls, a small buffer, a progress bar that moves."""

# What a kernel or file system answers when it cannot copy this way for this pair of files; the next way may.
_NOT_THIS_WAY = frozenset(
    {
        errno.EXDEV,
        errno.EINVAL,
        errno.ENOSYS,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EBADF,
        errno.ETXTBSY,
        errno.EOVERFLOW,
    }
)


def copy_bytes(source: int, target: int, size: int, *, progress: Callable[[int], None] | None = None) -> int:
    """Copy ``size`` bytes between the current positions of two descriptors.

    Both positions move on. Returns the number of bytes copied, which is below ``size`` only where the source
    ended early. ``progress`` is called with the number of bytes that each step added, at most once in 1 MiB
    (or once for a smaller file). Memory stays below 1.1 MiB. Raises OSError; what was written then is undefined.
    """
    if size <= SMALL:
        copied = _read_and_write(source, target, size, None)
        if progress is not None and copied:
            progress(copied)
        return copied
    copied = 0
    for way in (_by_copy_file_range, _by_sendfile):
        copied += way(source, target, size - copied, progress)
        if copied == size:
            return copied
    # Pseudo files (/proc, some FUSE ones) answer "nothing more" to the two quick ways: only a read is believed.
    return copied + _read_and_write(source, target, size - copied, progress)


def _by_copy_file_range(source: int, target: int, size: int, progress: Callable[[int], None] | None) -> int:
    return _by_kernel(lambda count: os.copy_file_range(source, target, count), size, progress)


def _by_sendfile(source: int, target: int, size: int, progress: Callable[[int], None] | None) -> int:
    return _by_kernel(lambda count: os.sendfile(target, source, None, count), size, progress)


def _by_kernel(step: Callable[[int], int], size: int, progress: Callable[[int], None] | None) -> int:
    """Repeat a copying system call; stop early, without an error, where it does not serve this pair of files."""
    copied = 0
    while copied < size:
        try:
            count = step(min(CHUNK, size - copied))
        except OSError as error:
            if error.errno in _NOT_THIS_WAY:
                break
            raise
        if count == 0:
            break
        copied += count
        if progress is not None:
            progress(count)
    return copied


def _read_and_write(source: int, target: int, size: int, progress: Callable[[int], None] | None) -> int:
    copied = 0
    while copied < size:
        data = os.read(source, min(CHUNK, size - copied))
        if not data:
            break
        write_all(target, data)
        copied += len(data)
        if progress is not None:
            progress(len(data))
    return copied
