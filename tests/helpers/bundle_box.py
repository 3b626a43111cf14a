"""A place to unpack in, with a neighbour that must never be touched."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.bundle.unpack import UnpackOptions, unpack
from agent.errors import BundleError

Tree = dict[str, tuple[Any, ...]]


def tree(top: Path | str, *, times: bool = True) -> Tree:
    """Everything below a directory: kind, mode, owner, time in nanoseconds, content or target, and its hard links.

    Hard links are told by the name that comes first in the alphabet. Modes of symbolic links mean nothing.
    """
    found: Tree = {}
    inodes: dict[int, str] = {}
    for path in sorted(_walk(os.fsencode(top))):
        information = os.lstat(path)
        name = os.fsdecode(os.path.relpath(path, os.fsencode(top)))
        kind = stat.S_IFMT(information.st_mode)
        mode = 0 if stat.S_ISLNK(kind) else stat.S_IMODE(information.st_mode)
        content: bytes | str = b""
        if stat.S_ISREG(kind):
            first = inodes.setdefault(information.st_ino, name)
            content = Path(os.fsdecode(path)).read_bytes() if os.access(path, os.R_OK) else b"?"
            content = content if first == name else f"hard link to {first}"
        elif stat.S_ISLNK(kind):
            content = os.readlink(path)
        when = information.st_mtime_ns if times else 0
        found[name] = (oct(kind), oct(mode), information.st_uid, information.st_gid, when, content)
    return found


def _walk(top: bytes) -> list[bytes]:
    paths = []
    for directory, directories, files in os.walk(top):
        paths += [os.path.join(directory, name) for name in directories + files]
    return paths


class Box:
    """``unpack`` unpacks bytes or a directory; ``refused`` also proves that nothing was left or touched."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.outside = directory / "outside"
        self.outside.mkdir()
        (self.outside / "precious").write_text("untouched")
        self.deployment = directory / "deployment"
        self.deployment.mkdir()
        self.archive = directory / "bundle"
        self.destination = self.deployment / "deployment-archive"

    def unpack(
        self,
        source: bytes | Path,
        bundle_type: str = "tar",
        *,
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Tree:
        if isinstance(source, bytes):
            self.archive.write_bytes(source)
            source = self.archive
        before = tree(self.outside)
        try:
            unpack(str(source), bundle_type, str(self.destination), options=UnpackOptions(**options), progress=progress)
        finally:
            assert tree(self.outside) == before, "something outside the staging directory was changed"
        assert os.listdir(self.deployment) == ["deployment-archive"]
        return tree(self.destination)

    def refused(self, source: bytes | Path, bundle_type: str = "tar", **options: Any) -> str:
        before = tree(self.deployment)
        with pytest.raises(BundleError) as caught:
            self.unpack(source, bundle_type, **options)
        assert tree(self.deployment) == before, "a refused archive left something behind"
        return str(caught.value)

    def text(self, name: str) -> str:
        return (self.destination / name).read_text()
