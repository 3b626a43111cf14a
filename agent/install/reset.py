"""Give a folder that stays the metadata that removing it and making it again would have given."""

from __future__ import annotations

import os
import stat

from agent.install import acl


def read_metadata(path: str) -> dict[str, object]:
    """Give mode, owner, group and both ACLs (hexadecimal) of a folder, for the journal. Raises OSError."""
    status = os.stat(path)
    access, default = acl.read(path)
    return {
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "access": _hex(access),
        "default": _hex(default),
    }


def write_metadata(path: str, metadata: dict[str, object]) -> None:
    """Put back what ``read_metadata`` gave; a folder that is gone is passed over. Raises OSError."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    uid, gid, mode = (int(str(metadata[name])) for name in ("uid", "gid", "mode"))
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.chown(path, uid, gid)
    acl.write(path, _bytes(metadata["access"]), _bytes(metadata["default"]))
    _set_mode(path, mode)


def reset_folder(path: str) -> None:
    """Make a folder look newly made by this process. Raises OSError.

    The group is inherited from a setgid parent, and ACLs from a parent's default ACL, as mkdir(2) and acl(5) have it.
    """
    parent = os.path.dirname(path)
    above, status = os.stat(parent), os.stat(path)
    setgid = above.st_mode & stat.S_ISGID
    owner = (os.geteuid(), above.st_gid if setgid else os.getegid())
    _, inherited = acl.read(parent)
    if (status.st_uid, status.st_gid) != owner:
        os.chown(path, *owner)
    # With a default ACL above, the umask does not count and mkdir's 0777 takes nothing away from what it grants.
    acl.write(path, inherited, inherited)
    if inherited is None:
        _set_mode(path, (0o777 & ~_umask()) | setgid)
    else:
        _set_mode(path, (os.stat(path).st_mode & 0o777) | setgid)


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
