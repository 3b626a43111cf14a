"""Give a folder that stays the metadata that removing it and making it again would have given."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from agent.install import acl


@contextmanager
def _pinned(path: str) -> Iterator[str]:
    """Open an object, never a link, and give a path that stays with it whatever its name becomes. Raises OSError."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if stat.S_ISLNK(os.fstat(descriptor).st_mode):
            raise OSError(errno.EEXIST, "This became a symbolic link while the revision was being installed", path)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def read_metadata(path: str) -> dict[str, object]:
    """Give mode, owner, group and both ACLs (hexadecimal) of an object, for the journal. Raises OSError."""
    with _pinned(path) as pinned:
        status = os.stat(pinned)
        access, default = acl.read(pinned)
    return {
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "access": _hex(access),
        "default": _hex(default),
    }


def write_metadata(path: str, metadata: dict[str, object]) -> None:
    """Put back what ``read_metadata`` gave; what is gone, or became a link, is passed over. Raises OSError."""
    uid, gid, mode = (int(str(metadata[name])) for name in ("uid", "gid", "mode"))
    try:
        with _pinned(path) as pinned:
            status = os.stat(pinned)
            if (status.st_uid, status.st_gid) != (uid, gid):
                os.chown(pinned, uid, gid)
            acl.write(pinned, _bytes(metadata["access"]), _bytes(metadata["default"]))
            _set_mode(pinned, mode)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST):
            raise


def reset_folder(path: str) -> None:
    """Make a folder look newly made by this process. Raises OSError.

    The group is inherited from a setgid parent, and ACLs from a parent's default ACL, as mkdir(2) and acl(5) have it.
    """
    parent = os.path.dirname(path)
    above = os.stat(parent)
    setgid = above.st_mode & stat.S_ISGID
    owner = (os.geteuid(), above.st_gid if setgid else os.getegid())
    _, inherited = acl.read(parent)
    with _pinned(path) as pinned:
        status = os.stat(pinned)
        if (status.st_uid, status.st_gid) != owner:
            os.chown(pinned, *owner)
        # With a default ACL above, the umask does not count and mkdir's 0777 takes nothing away from what it grants.
        acl.write(pinned, inherited, inherited)
        if inherited is None:
            _set_mode(pinned, (0o777 & ~_umask()) | setgid)
        else:
            _set_mode(pinned, (os.stat(pinned).st_mode & 0o777) | setgid)


def _set_mode(path: str, mode: int) -> None:
    if stat.S_IMODE(os.stat(path).st_mode) != mode:
        os.chmod(path, mode)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _bytes(value: object) -> bytes | None:
    return bytes.fromhex(value) if isinstance(value, str) else None
