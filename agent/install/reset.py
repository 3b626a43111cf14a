"""Give a directory that stays the metadata that removing it and making it again would have given."""

from __future__ import annotations

import os
import stat

from agent.filesystem.directories import by_descriptor
from agent.install import acl


def read_metadata(descriptor: int) -> dict[str, object]:
    """Return mode, owner, group and both ACLs (hexadecimal) of an open object, for the journal. Raises OSError."""
    status = os.fstat(descriptor)
    access, default = acl.read(by_descriptor(descriptor))
    return {
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "access": _hex(access),
        "default": _hex(default),
    }


def write_metadata(descriptor: int, metadata: dict[str, object]) -> None:
    """Put back what ``read_metadata`` gave. Raises OSError."""
    uid, gid, mode = (int(str(metadata[name])) for name in ("uid", "gid", "mode"))
    target = by_descriptor(descriptor)
    _set_owner(descriptor, uid, gid)
    acl.write(target, _bytes(metadata["access"]), _bytes(metadata["default"]))
    _set_mode(descriptor, mode)


def reset_directory(descriptor: int, above: int, *, mode: int | None = None) -> None:
    """Make an open directory look newly made in the directory ``above`` by this process. Raises OSError.

    The group is inherited from a setgid parent, and ACLs from a parent's default ACL, as mkdir(2) and acl(5) have it.
    ``mode`` is what the directory will have in the end; then it is not wider in between either.
    """
    parent, target = os.fstat(above), by_descriptor(descriptor)
    setgid = parent.st_mode & stat.S_ISGID
    _set_owner(descriptor, os.geteuid(), parent.st_gid if setgid else os.getegid())
    _, inherited = acl.read(by_descriptor(above))
    # With a default ACL above, the umask does not count and mkdir's 0777 takes nothing away from what it grants.
    access = inherited if inherited is None or mode is None else acl.with_mode(inherited, mode)
    if mode is not None and inherited is None:
        _set_mode(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & mode)
    acl.write(target, access, inherited)
    if inherited is None:
        _set_mode(descriptor, ((0o777 & ~_umask()) if mode is None else mode & 0o777) | setgid)
    else:
        _set_mode(descriptor, (os.fstat(descriptor).st_mode & 0o777) | setgid)


def _set_owner(descriptor: int, uid: int, gid: int) -> None:
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.chown(by_descriptor(descriptor), uid, gid)


def _set_mode(descriptor: int, mode: int) -> None:
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
        os.chmod(by_descriptor(descriptor), mode)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _bytes(value: object) -> bytes | None:
    return bytes.fromhex(value) if isinstance(value, str) else None
