"""Remove whole directories, however deep they are and whoever else can write in them."""

from __future__ import annotations

import errno
import os
import stat

# So many directories are held open at once; deeper ones are moved up, which needs neither more files nor a deeper
# stack.
_MAX_DEPTH = 64

_NAME_IS_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})


def remove_tree(path: str, *, parent: int | None = None) -> bool:
    """Remove a file, a symbolic link (not what it points to) or a directory with everything below it.

    With ``parent``, the descriptor of a directory, ``path`` is a name in it. Returns whether there was anything. Depth
    is limited neither by the stack nor by open files nor by the length of a path. No account that may write below the
    directory can lead the removal out of it: directories are opened over no link and no mount, and those further down
    are moved up into the top one before they are emptied. Raises OSError, with EBUSY for a mount; then a part may be
    left.
    """
    if parent is not None:
        return _remove(path, parent)
    try:
        above = os.open(os.path.dirname(path.rstrip("/")) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        return _remove(os.path.basename(path.rstrip("/")), above)
    finally:
        os.close(above)


def _remove(name: str, parent: int) -> bool:
    try:
        top = _open_directory(name, parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(name, dir_fd=parent)
        return True
    try:
        _empty(top, 0)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)
    return True


def remove_empty_tree(name: str, parent: int) -> bool:
    """Remove a directory below an open one and all directories in it, but nothing else; return whether it is gone.

    Raises OSError.
    """
    for _, directories, _, descriptor in os.fwalk(name, topdown=False, onerror=_pass_over_refused, dir_fd=parent):
        for directory in directories:
            _remove_if_empty(directory, descriptor)
    return _remove_if_empty(name, parent)


def _pass_over_refused(error: OSError) -> None:
    """Go on without what an ordinary user may not open, which may be empty all the same. Raises any other error."""
    if error.errno != errno.EACCES:
        raise error


def _remove_if_empty(name: str, parent: int) -> bool:
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        if error.errno not in _NAME_IS_TAKEN:
            raise
        return False
    return True


def _empty(directory: int, depth: int) -> None:
    """Empty a directory; its directories keep their names until they go, but for those that are very deep."""
    if depth >= _MAX_DEPTH:
        _flatten(directory)
        return
    for name in _remove_files(directory):
        inner = _open_directory(name, directory)
        try:
            _empty(inner, depth + 1)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=directory)


def _flatten(top: int) -> None:
    """Empty a directory in rounds: each empties the directories in it, whose own directories move up a level."""
    number = 0
    while directories := _remove_files(top):
        for name in directories:
            directory = _open_directory(name, top)
            try:
                for inner in _remove_files(directory):
                    number = _move_up(inner, directory, top, number + 1)
            finally:
                os.close(directory)
            os.rmdir(name, dir_fd=top)


def _open_directory(name: str, parent: int) -> int:
    if os.geteuid() != 0:
        # Ordinary users may own directories in which they may not write; root needs no permission.
        _permit(name, parent)
    from agent.filesystem.kernel import open_directory  # it loads ctypes, which most commands do not need

    try:
        return open_directory(name, parent, same_mount=True)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raise OSError(errno.EBUSY, "Something is mounted here, and it is not removed", name) from error


def _permit(name: str, parent: int) -> None:
    mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode) and mode & 0o700 != 0o700:
        os.chmod(name, 0o700, dir_fd=parent)


def _remove_files(directory: int) -> list[str]:
    """Unlink everything but directories; give the names of the directories."""
    directories = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=directory)
    return directories


def _move_up(name: str, directory: int, top: int, number: int) -> int:
    """Move a directory into the top one under the first free number; give that number."""
    if os.geteuid() != 0:
        _permit(name, directory)
    while True:
        try:
            os.rename(name, f".{number}~", src_dir_fd=directory, dst_dir_fd=top)
            return number
        except OSError as error:
            if error.errno not in _NAME_IS_TAKEN:
                raise
            number += 1
