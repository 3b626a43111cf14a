"""Looking at the host: what is at a path now, and what will be there once the old files are cleaned up."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

FILE = "file"
DIRECTORY = "directory"
LINK = "symlink"
OTHER = "special file"

# Up to here single look-ups are cheaper than reading a whole directory, which may be a very large one.
_LOOKUPS_BEFORE_LISTING = 8

# The kernel's own limit on links in one path (path_resolution(7)).
MAX_LINKS = 40


class HostFiles:
    """What lies on the host now; every answer is remembered, so one plan sees one host. Paths are absolute."""

    def __init__(self) -> None:
        self._lookups: dict[str, int] = {}
        self._single: dict[str, str | None] = {}
        self._listed: dict[str, dict[str, str]] = {}

    def kind(self, path: str) -> str | None:
        """Tell what is at a path without following it: one of the constants, or None for nothing. Raises OSError."""
        directory, name = os.path.split(path)
        if not name:
            return DIRECTORY
        listed = self._listed.get(directory)
        if listed is not None:
            return listed.get(name)
        if path in self._single:
            return self._single[path]
        count = self._lookups.get(directory, 0) + 1
        self._lookups[directory] = count
        if count > _LOOKUPS_BEFORE_LISTING:
            try:
                return self.children(directory).get(name)
            except PermissionError:
                pass  # a directory that may be passed through but not read: single look-ups still work
        self._single[path] = _kind_of(path)
        return self._single[path]

    def children(self, directory: str) -> dict[str, str]:
        """Return name and kind of all that is in a directory; nothing where there is no directory. Raises OSError."""
        listed = self._listed.get(directory)
        if listed is None:
            try:
                with os.scandir(directory) as entries:
                    listed = {entry.name: _kind_of_entry(entry) for entry in entries}
            except (FileNotFoundError, NotADirectoryError):
                listed = {}
            self._listed[directory] = listed
        return listed


class Link(NamedTuple):
    """A symbolic link of the host that a path leads over: its real path, its owner, and the real path it leads to."""

    path: str
    uid: int
    target: str


class View:
    """The host as it will be after a clean-up: ``removed`` holds the real paths that will be gone by then."""

    def __init__(self, host: HostFiles, removed: Iterable[str] = ()) -> None:
        self.host = host
        self.removed: set[str] = set(removed)
        self._resolved: dict[str, str] = {"/": "/"}
        self._links: dict[str, tuple[Link, ...]] = {}
        self._gone: dict[str, bool] = {"": False, "/": False}

    def kind(self, path: str) -> str | None:
        """Tell what will be at a real path, without following it. Raises OSError."""
        if path in self.removed or self._is_gone(path[: path.rfind("/")]):
            return None
        return self.host.kind(path)

    def _is_gone(self, directory: str) -> bool:
        """Tell whether a name on the way is removed: a link that goes leads nowhere any more."""
        if not self.removed:
            return False
        known = self._gone.get(directory)
        if known is None:
            known = directory in self.removed or self._is_gone(directory[: directory.rfind("/")])
            self._gone[directory] = known
        return known

    def followed_kind(self, path: str) -> str | None:
        """Tell what will be at a real path, through a symbolic link; None also for a dangling one. Raises OSError."""
        kind = self.kind(path)
        if kind != LINK:
            return kind
        try:
            return self.kind(self.resolve(path))
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return None

    def resolve(self, path: str) -> str:
        """Return the real path that an absolute path leads to, the last part followed too, as the kernel walks it.

        Parts that do not exist are taken as they are. Raises OSError, with ELOOP for a circle of links.
        """
        known = self._resolved.get(path)
        if known is None:
            known = self._resolved[path] = self._walk(path)
        return known

    def real(self, path: str) -> str:
        """Return the real path of a name: links in its directory are followed, it is not itself. Raises OSError."""
        directory, name = os.path.split(path)
        if not name:
            return "/"
        parent = self.resolve(directory)
        return f"{parent}/{name}" if parent != "/" else f"/{name}"

    def links(self, path: str) -> tuple[Link, ...]:
        """Return the links that ``resolve`` follows from a path, in their order. Raises OSError as it does."""
        self.resolve(path)
        return self._links.get(path, ())

    def _walk(self, path: str) -> str:
        real = ""
        links: list[Link] = []
        rest: list[str | Link] = [*path.split("/")[::-1]]
        while rest:
            name = rest.pop()
            if isinstance(name, Link):
                links.append(name._replace(target=self._existing(real)))
            elif name == "..":
                real = real[: max(real.rfind("/"), 0)]
            elif name not in ("", "."):
                here = f"{real}/{name}"
                if self.kind(here) != LINK:
                    real = here
                    continue
                link = read_link(here)
                if len(links) + sum(isinstance(part, Link) for part in rest) >= MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if link.target.startswith("/"):
                    real = ""
                rest += [link, *link.target.split("/")[::-1]]
        self._links[path] = tuple(links)
        return real or "/"

    def _existing(self, path: str) -> str:
        """Return a path, or the lowest directory above it that is there: what is missing will be made by us."""
        while path and self.kind(path) is None:
            path = path[: path.rfind("/")]
        return path or "/"


def read_link(path: str) -> Link:
    """Return owner and target of one link, read from the same object. Raises OSError."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return Link(path, os.fstat(descriptor).st_uid, os.readlink("", dir_fd=descriptor))
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(descriptor)


def _kind_of(path: str) -> str | None:
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISREG(mode):
        return FILE
    if stat.S_ISDIR(mode):
        return DIRECTORY
    return LINK if stat.S_ISLNK(mode) else OTHER


def _kind_of_entry(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return LINK
    if entry.is_dir(follow_symlinks=False):
        return DIRECTORY
    return FILE if entry.is_file(follow_symlinks=False) else OTHER
