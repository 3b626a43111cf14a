"""Writes that are on the disk when they return, or have changed nothing."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from agent.filesystem.reasons import about


def write_durably(path: str, data: bytes, *, mode: int = 0o644) -> None:
    """Replace the content of a file whole, durably.

    A reader sees the old content or the new, never a part; when this returns the new content survives
    a power cut. ``mode`` is exact, the umask does not matter. Raises OSError, and then the old content stands.
    """
    _write_and_rename(path, data, mode=mode, durably=True)
    sync_directory(os.path.dirname(path))


def replace(path: str, data: bytes, *, mode: int = 0o644) -> None:
    """Replace the content of a file whole, for readers on this host while it runs.

    As ``write_durably``, but without waiting for the disk: after a power cut the content may be the old one or none.
    """
    _write_and_rename(path, data, mode=mode, durably=False)


def _write_and_rename(path: str, data: bytes, *, mode: int, durably: bool) -> None:
    temporary = temporary_name(path)
    descriptor = _create(temporary)
    try:
        try:
            with about(path):
                write_all(descriptor, data)
                os.fchmod(descriptor, mode)
                if durably:
                    os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        remove_if_there(temporary)
        raise


def _create(path: str) -> int:
    """Make a file that was not there; what was left under its name is removed and not opened."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError:
        os.unlink(path)
        return os.open(path, flags, 0o600)


def temporary_name(path: str) -> str:
    """Return the name under which ``write_durably`` builds a file; one that was left by a kill is used again.

    It begins with a dot, ends so that no include pattern matches, and is never longer than a name may be.
    """
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{os.fsdecode(os.fsencode(name)[:200])}.new~")


def append_durably(path: str, data: bytes) -> None:
    """Append to an existing file and wait until it is on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with about(path):
            write_all(descriptor, data)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of the data, also where the kernel takes it in parts. Raises OSError."""
    written = os.write(descriptor, data)
    if written != len(data):
        rest = memoryview(data)[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def sync_directory(directory: str) -> None:
    """Make the names in a directory durable. Raises OSError."""
    descriptor = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with about(directory):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_systems(paths: Iterable[str]) -> None:
    """Write everything that is dirty on the file systems that hold these paths, each file system once.

    One such call stands for an fsync of every file written since, at a small part of the price. What is neither a
    directory nor a file is passed over: another account may have put a link to a device there, and some devices act
    when they are opened. Raises OSError.
    """
    from agent.filesystem.kernel import sync_file_system  # it loads ctypes, and costs start-up time

    seen: set[int] = set()
    for path in paths:
        held = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            status = os.fstat(held)
            is_directory = stat.S_ISDIR(status.st_mode)
            if status.st_dev in seen or not (is_directory or stat.S_ISREG(status.st_mode)):
                continue
            seen.add(status.st_dev)
            # Where the host's image is made there may be no /proc.
            name, above = (".", held) if is_directory else (path, None)
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=above)
            try:
                with about(path):
                    sync_file_system(descriptor)
            finally:
                os.close(descriptor)
        finally:
            os.close(held)


def remove_if_there(path: str) -> bool:
    """Remove a file or symbolic link; tell whether there was one. Raises OSError other than "not there"."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        # The kernel says this before it looks whether there is anything to remove.
        if error.errno == errno.EROFS and not os.path.lexists(path):
            return False
        raise
    return True


def make_directory(path: str, *, mode: int = 0o755) -> None:
    """Make a directory and its missing parents with exactly this mode, durably; an existing one is left as it is."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path.rstrip("/"))
    if parent and parent != path:
        make_directory(parent, mode=mode)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise
        return
    os.chmod(path, mode)
    sync_directory(parent or ".")
