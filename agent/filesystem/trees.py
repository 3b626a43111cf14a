"""Remove whole folders, however deep they are and whoever else can write in them."""

from __future__ import annotations

import errno
import os
import stat

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# So many folders are held open at once; deeper ones are moved up, which needs neither more files nor a deeper stack.
_MAX_DEPTH = 64

_NAME_IS_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})


def remove_tree(path: str) -> bool:
    """Remove a file, a symbolic link (not what it points to) or a folder with everything below it.

    Tells whether there was anything. Depth is limited neither by the stack nor by open files nor by the length of
    a path, and nobody who may write below the folder can lead the removal out of it: folders are opened without
    following links, and those further down are moved up into the top one before they are emptied.
    Raises OSError, and then a part may be left.
    """
    try:
        top = _open_folder(path, None)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(path)
        return True
    try:
        _empty(top, 0)
    finally:
        os.close(top)
    os.rmdir(path)
    return True


def _empty(folder: int, depth: int) -> None:
    """Empty a folder; its folders keep their names until they go, but for those that are very deep."""
    if depth >= _MAX_DEPTH:
        _flatten(folder)
        return
    for name in _remove_files(folder):
        inner = _open_folder(name, folder)
        try:
            _empty(inner, depth + 1)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=folder)


def _flatten(top: int) -> None:
    """Empty a folder in rounds: each round empties the folders directly in it, whose own folders move up a level."""
    number = 0
    while folders := _remove_files(top):
        for name in folders:
            folder = _open_folder(name, top)
            try:
                for inner in _remove_files(folder):
                    number = _move_up(inner, folder, top, number + 1)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=top)


def _open_folder(name: str, parent: int | None) -> int:
    if os.geteuid() != 0:
        # Ordinary users may own folders in which they may not write; root needs no permission.
        _permit(name, parent)
    return os.open(name, _OPEN_FOLDER, dir_fd=parent)


def _permit(name: str, parent: int | None) -> None:
    mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode) and mode & 0o700 != 0o700:
        os.chmod(name, 0o700, dir_fd=parent)


def _remove_files(folder: int) -> list[str]:
    """Unlink everything but folders; give the names of the folders."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=folder)
    return folders


def _move_up(name: str, folder: int, top: int, number: int) -> int:
    """Move a folder into the top one under the first free number; give that number."""
    if os.geteuid() != 0:
        _permit(name, folder)
    while True:
        try:
            os.rename(name, f".{number}~", src_dir_fd=folder, dst_dir_fd=top)
            return number
        except OSError as error:
            if error.errno not in _NAME_IS_TAKEN:
                raise
            number += 1
