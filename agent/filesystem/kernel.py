"""System calls that Python has no function for, each with a plain way where the kernel or the C library lacks it."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

_LIBC = ctypes.CDLL(None, use_errno=True)
_STATX = getattr(_LIBC, "statx", None)  # glibc 2.28
_RENAMEAT2 = getattr(_LIBC, "renameat2", None)

_AT_EMPTY_PATH = 0x1000
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_TYPE_INO_BTIME = 0x0001 | 0x0100 | 0x0800
_STATX_BUFFER = ctypes.create_string_buffer(256)
_STATX_POINTER = ctypes.c_void_p(ctypes.addressof(_STATX_BUFFER))
# Of struct statx: what of it is told, mode, inode, time of birth, and the device that the object is on.
_STATX_FIELDS = struct.Struct("=I24xH2xQ40xqI44xII")
_STATX_BTIME = 0x0800

_OVERLAYFS = 0x794C7630  # linux/magic.h
_STATFS_BUFFER = ctypes.create_string_buffer(256)
_STATFS_TYPE = struct.Struct("@I")

_RENAME_NOREPLACE = 1
_OPENAT2 = 437  # the same number on every processor
_RESOLVE_NO_XDEV, _RESOLVE_NO_SYMLINKS = 0x01, 0x04
_OPEN_HOW = struct.Struct("=QQQ")

# A container's filter answers EPERM to what it does not know.
_REFUSED_AS_UNKNOWN = frozenset({errno.ENOSYS, errno.EPERM})
_NOT_THIS_WAY = _REFUSED_AS_UNKNOWN | {errno.EINVAL, errno.EOPNOTSUPP}

_lacks_openat2 = False
_layered: dict[int, bool] = {}


class Identity(NamedTuple):
    """Which object it is, whatever its name: device, inode, type and time of birth.

    ``born`` is in nanoseconds, 0 where the file system does not tell it. On overlayfs it is 0 too, because there it is
    another after the first change to an object of a lower layer; so is ``device``, which lasts only as long as the
    mount (a container has another one after its restart).
    """

    device: int
    inode: int
    type: int
    born: int

    def is_same(self, other: Identity, *, same_boot: bool = True) -> bool:
        """Return whether both are one object.

        The device's number is another after a reboot, and after some remounts; it counts where no time of birth tells.
        """
        if (self.inode, self.type) != (other.inode, other.type):
            return False
        if self.born and other.born:
            return self.born == other.born
        return self.device == other.device or not same_boot


def identity(name: str, directory: int) -> Identity:
    """Return the identity of what a name in an open directory stands for; a link is not followed.

    An empty name means the descriptor itself. Raises OSError.
    """
    if _STATX is None:
        return _plain_identity(name, directory)
    flags = _AT_SYMLINK_NOFOLLOW if name else _AT_SYMLINK_NOFOLLOW | _AT_EMPTY_PATH
    if _STATX(directory, os.fsencode(name), flags, _STATX_TYPE_INO_BTIME, _STATX_POINTER) != 0:
        number = ctypes.get_errno()
        if number in _REFUSED_AS_UNKNOWN:
            return _plain_identity(name, directory)
        raise OSError(number, os.strerror(number), name)
    told, mode, inode, seconds, nanoseconds, major, minor = _STATX_FIELDS.unpack_from(_STATX_BUFFER)
    device = os.makedev(major, minor)
    if major == 0 and _is_layered(device, name, directory):
        return Identity(0, inode, stat.S_IFMT(mode), 0)
    born = seconds * 1_000_000_000 + nanoseconds if told & _STATX_BTIME else 0
    return Identity(device, inode, stat.S_IFMT(mode), born)


def forget_devices() -> None:
    """Forget which devices are an overlayfs: a number may be given to something else after an unmount."""
    _layered.clear()


def _is_layered(device: int, name: str, directory: int) -> bool:
    """Return whether an object of this device is on an overlayfs. Raises OSError."""
    known = _layered.get(device)
    if known is None:
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=directory) if name else os.dup(directory)
        try:
            if os.fstat(descriptor).st_dev != device:
                return False  # another process has just exchanged it
            done = _LIBC.fstatfs(descriptor, _STATFS_BUFFER) == 0
        finally:
            os.close(descriptor)
        known = _layered[device] = done and _STATFS_TYPE.unpack_from(_STATFS_BUFFER)[0] == _OVERLAYFS
    return known


def _plain_identity(name: str, directory: int) -> Identity:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False) if name else os.fstat(directory)
    return Identity(status.st_dev, status.st_ino, stat.S_IFMT(status.st_mode), 0)


def rename_to_free_name(old: str, new: str, old_directory: int, new_directory: int) -> None:
    """Rename, but never over something that is there already. Raises OSError, FileExistsError where there is."""
    try:
        _rename_to_free_name(old, new, old_directory, new_directory)
    except PermissionError as error:
        with _movable(old, old_directory, error):
            _rename_to_free_name(old, new, old_directory, new_directory)


def rename(old: str, new: str, old_directory: int, new_directory: int) -> None:
    """Rename, in the place of a file or link that is there. Raises OSError."""
    try:
        os.rename(old, new, src_dir_fd=old_directory, dst_dir_fd=new_directory)
    except PermissionError as error:
        with _movable(old, old_directory, error):
            os.rename(old, new, src_dir_fd=old_directory, dst_dir_fd=new_directory)


@contextmanager
def _movable(name: str, directory: int, refused: PermissionError) -> Iterator[None]:
    """Let an ordinary user move a directory that it owns and may not write to: what is above it is written in it.

    Raises ``refused`` where that is not the reason.
    """
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & stat.S_IWUSR:
            raise refused
        mode, opened = stat.S_IMODE(status.st_mode), f"/proc/self/fd/{descriptor}"
        os.chmod(opened, mode | stat.S_IWUSR)
        try:
            yield
        finally:
            os.chmod(opened, mode)
    finally:
        os.close(descriptor)


def _rename_to_free_name(old: str, new: str, old_directory: int, new_directory: int) -> None:
    if _RENAMEAT2 is not None:
        if _RENAMEAT2(old_directory, os.fsencode(old), new_directory, os.fsencode(new), _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _NOT_THIS_WAY:
            raise OSError(number, os.strerror(number), old, None, new)
    # Some file systems (NFS) cannot do it in one step.
    try:
        os.stat(new, dir_fd=new_directory, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(old, new, src_dir_fd=old_directory, dst_dir_fd=new_directory)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)


def link_known(old: str, new: str, old_directory: int, new_directory: int, inode: int) -> bool:
    """Give an object, a link itself, a second name; return whether it is the expected one.

    Raises OSError, with EXDEV where one object would seem to be two: on an overlayfs of several file systems a second
    name may have a device and an inode of its own.
    """
    os.link(old, new, src_dir_fd=old_directory, dst_dir_fd=new_directory, follow_symlinks=False)
    status = os.stat(new, dir_fd=new_directory, follow_symlinks=False)
    if status.st_ino == inode:
        return True
    if status.st_dev != os.stat(old, dir_fd=old_directory, follow_symlinks=False).st_dev:
        os.unlink(new, dir_fd=new_directory)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), old)
    return False


def open_directory(name: str, parent: int, *, same_mount: bool = False, flags: int = os.O_RDONLY) -> int:
    """Open a directory below an open one, over no link, and with ``same_mount`` over no mount either.

    ``name`` may have several parts where the kernel has openat2(2); ``NotImplementedError`` says that it has not.
    Raises OSError: ELOOP for a link, EXDEV for a mount.
    """
    global _lacks_openat2
    flags |= os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    if not _lacks_openat2:
        how = _OPEN_HOW.pack(flags, 0, _RESOLVE_NO_SYMLINKS | (_RESOLVE_NO_XDEV if same_mount else 0))
        result = _LIBC.syscall(_OPENAT2, parent, os.fsencode(name), how, len(how))
        if result >= 0:
            return int(result)
        number = ctypes.get_errno()
        if number not in _REFUSED_AS_UNKNOWN:
            raise OSError(number, os.strerror(number), name)
        _lacks_openat2 = number == errno.ENOSYS
    if "/" in name:
        raise NotImplementedError("openat2")
    descriptor = os.open(name, flags, dir_fd=parent)
    if same_mount and os.fstat(descriptor).st_dev != os.fstat(parent).st_dev:
        os.close(descriptor)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
    return descriptor


def sync_file_system(descriptor: int) -> None:
    """Write everything that is dirty on the file system that an open file is on. Raises OSError."""
    if _LIBC.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def sync_held(held: int) -> None:
    """Write all that is dirty on the file system of an open (``O_PATH``) directory or regular file. Raises OSError."""
    try:
        readable = os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        os.sync()  # an ordinary user may write to what it may not read
        return
    try:
        sync_file_system(readable)
    finally:
        os.close(readable)
