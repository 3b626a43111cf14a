"""Changes to a host, each relative to an opened directory that no other account can exchange for another.

A path is walked once, from ``/``, part by part and over no link. From there on a change names the descriptor of the
directory. The owner of a directory on the way can rename it, or put a link or another directory in its place, and still
does not lead the change elsewhere. The first walk also sees who owns each directory on the way.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType

from agent.filesystem import kernel
from agent.filesystem.kernel import Identity, identity
from agent.filesystem.reasons import named
from agent.filesystem.trees import remove_empty_tree, remove_tree

_MOST_OPEN = 300
"""Directories held open at once, where the process may have 1,024 files open. More are opened again when needed."""

_MOST_PRIVATE = 200
"""Private directories that stay open to the end, so that they are found whatever their names lead to by then."""

_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Judge = Callable[[str, int, os.stat_result, os.stat_result], None]
"""Called for each directory that is walked for the first time, with its path, its descriptor, the status of the one
above and its own. It raises where the walk must end."""


class MovedError(OSError):
    """A name stands for another object than before, for a link, or for nothing."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.EEXIST, "Another process has removed or replaced this since the Install began", path)

    def __reduce__(self) -> tuple[type[MovedError], tuple[str]]:
        """Go from one process to another, which OSError's way does not for other arguments than its own."""
        return type(self), (self.filename,)


def by_descriptor(descriptor: int) -> str:
    """Return a path that stays with an open object whatever its name becomes; for calls that take no ``O_PATH``."""
    return f"/proc/self/fd/{descriptor}"


class Directories:
    """The directories that a piece of work changes; to be used as a context manager.

    ``known`` are identities of directories from an earlier process; ``same_boot`` tells whether it ran in this boot.
    Every method that takes a path raises OSError with that path, MovedError where one of its directories is another.
    """

    def __init__(
        self, *, known: Mapping[str, Identity] | None = None, same_boot: bool = True, judge: Judge | None = None
    ) -> None:
        self.identities: dict[str, Identity] = dict(known or {})
        self.same_boot = same_boot
        self._judge = judge
        self._open: dict[str, int] = {}
        self._private: set[str] = set()
        kernel.forget_devices()
        # Two of these work at a time, and the rest of the process needs files too.
        share = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] / 1024, 1)
        self._most_open, self._most_private = max(int(_MOST_OPEN * share), 2), int(_MOST_PRIVATE * share)
        self._root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._seen: set[str] = set()
        self._held = ""

    def __enter__(self) -> Directories:
        """Return this."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            os.close(self._open.popitem()[1])
        os.close(self._root)

    def open(self, path: str) -> int:
        """Return a descriptor (``O_PATH``) of a directory; it stays ours, and open until many others were opened."""
        descriptor = self._open.get(path)
        return self._open_anew(path) if descriptor is None else descriptor

    @named
    def _open_anew(self, path: str) -> int:
        if path in ("", "/"):
            return self._root
        if path not in self._seen:
            for above in self._not_seen_above(path):
                self.open(above)
        descriptor = self._opened(path)
        if len(self._open) - len(self._private) >= self._most_open:
            longest_open = next(known for known in self._open if known not in self._private and known != self._held)
            os.close(self._open.pop(longest_open))
        self._open[path] = descriptor
        return descriptor

    def _not_seen_above(self, path: str) -> list[str]:
        """Return the directories on the way that are new, from the top: from below, a deep one needs a deep stack."""
        found = []
        while (path := path[: path.rfind("/")]) and path not in self._seen:
            found.append(path)
        return found[::-1]

    def _opened(self, path: str) -> int:
        """Open a directory for the first time, or again."""
        if path in self._seen:
            # Its way was judged; where the kernel can walk it in one call there is nothing to see on it again.
            with suppress(NotImplementedError):
                return self._compared(path, self._walked(self._root, path[1:]))
        above, name = self._split(path)
        descriptor = self._compared(path, self._walked(above, name))
        if self._judge is not None and path not in self._seen:
            try:
                self._judge(path, descriptor, os.fstat(above), os.fstat(descriptor))
            except BaseException:
                os.close(descriptor)
                raise
        self._seen.add(path)
        return descriptor

    def _walked(self, above: int, name: str) -> int:
        try:
            if "/" in name:
                return kernel.open_directory(name, above, flags=os.O_PATH)
            return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise MovedError(name) from error
            raise

    def _compared(self, path: str, descriptor: int) -> int:
        found = identity("", descriptor)
        expected = self.identities.setdefault(path, found)
        if not expected.is_same(found, same_boot=self.same_boot):
            os.close(descriptor)
            raise MovedError(path)
        return descriptor

    def _split(self, path: str) -> tuple[int, str]:
        cut = path.rfind("/")
        return self.open(path[:cut]), path[cut + 1 :]

    def _split_both(self, path: str, new: str) -> tuple[int, str, int, str]:
        """Split two paths; while the directory of the second is opened, that of the first is not closed for it."""
        old_directory, old_name = self._split(path)
        self._held = path[: path.rfind("/")]
        try:
            return old_directory, old_name, *self._split(new)
        finally:
            self._held = ""

    def verify(self, paths: Iterable[str]) -> None:
        """Raise MovedError where one of these directories is not under its name any more."""
        with Directories(known=self.identities, same_boot=self.same_boot) as again:
            for path in paths:
                try:
                    again.open(path)
                except FileNotFoundError as error:
                    raise MovedError(path) from error

    @named
    def identity(self, path: str) -> Identity:
        """Return the identity of what is at a path; a link is not followed."""
        directory, name = self._split(path)
        return identity(name, directory)

    @named
    def status(self, path: str) -> os.stat_result:
        """Return the status of what is at a path; a link is not followed."""
        directory, name = self._split(path)
        return os.stat(name, dir_fd=directory, follow_symlinks=False)

    def is_there(self, path: str) -> bool:
        """Return whether there is anything at a path; there is not where its directory is missing."""
        try:
            self.status(path)
        except FileNotFoundError:
            return False
        return True

    def is_directory(self, path: str, expected: Identity) -> bool:
        """Return whether a directory is still under its name."""
        try:
            return self.identity(path).is_same(expected, same_boot=self.same_boot)
        except (FileNotFoundError, MovedError):
            return False

    def identities_of(self, paths: Iterable[str]) -> dict[str, Identity]:
        """Return the identity of what is at each path, without those where there is nothing."""
        found = {}
        for path in paths:
            directory, name = self._split(path)
            try:
                found[path] = identity(name, directory)
            except FileNotFoundError:
                continue
            except OSError as error:
                error.filename = path
                raise
        return found

    def inodes(self, paths: Iterable[str]) -> list[int]:
        """Return the inode of what is at each path; 0 for an empty path."""
        found = []
        for path in paths:
            directory, name = self._split(path)
            found.append(os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino if name else 0)
        return found

    @named
    def is_empty(self, path: str) -> bool:
        """Return whether a directory holds nothing."""
        with os.scandir(by_descriptor(self.open(path))) as entries:
            return next(entries, None) is None

    def is_object(self, descriptor: int, expected: Identity) -> bool:
        """Return whether an open object is the one that is expected."""
        return identity("", descriptor).is_same(expected, same_boot=self.same_boot)

    @contextmanager
    def pinned(self, path: str) -> Iterator[int]:
        """Open an object, never a link, as a descriptor (``O_PATH``); ``by_descriptor`` gives a path for it."""
        directory, name = self._split(path)
        try:
            descriptor = os.open(name or ".", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        except OSError as error:
            error.filename = path
            raise
        try:
            if stat.S_ISLNK(os.fstat(descriptor).st_mode):
                raise MovedError(path)
            yield descriptor
        finally:
            os.close(descriptor)

    @named
    def make(self, path: str, mode: int) -> None:
        """Make a directory; the umask counts as usual."""
        directory, name = self._split(path)
        os.mkdir(name, mode, dir_fd=directory)

    def make_private(self, path: str) -> None:
        """Make a directory that is this user's alone, and see that it is the one that was made."""
        self.make(path, 0o700)
        self._seen.add(path)  # this one is ours, although another account may own the directory above
        if len(self._private) < self._most_private:
            self._private.add(path)
        if not self.is_private(path) or not self.is_empty(path):
            raise MovedError(path)

    def is_private(self, path: str) -> bool:
        """Return whether a directory is this user's and closed to everybody else."""
        status = os.fstat(self.open(path))
        return status.st_uid == os.geteuid() and not status.st_mode & 0o077

    def create(self, directory: str, name: str) -> int:
        """Create a file that only its owner may read, and return it open for writing."""
        try:
            return os.open(name, _MAKE, 0o600, dir_fd=self.open(directory))
        except OSError as error:
            error.filename = f"{directory}/{name}"
            raise

    @named
    def open_file(self, path: str, flags: int) -> int:
        """Open a regular file that is there; anything else raises MovedError, and nothing is waited for."""
        directory, name = self._split(path)
        try:
            flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=directory)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
                raise MovedError(path) from error
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise MovedError(path)
        return descriptor

    @named
    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link at a path."""
        directory, name = self._split(path)
        os.symlink(target, name, dir_fd=directory)

    @named
    def link_known(self, path: str, new: str, expected: Identity) -> None:
        """Give an object a second name in a private directory; MovedError where it is not the one that is expected."""
        old_directory, old_name, directory, name = self._split_both(path, new)
        if not kernel.link_known(old_name, name, old_directory, directory, expected.inode):
            raise MovedError(path)

    @named
    def rename(self, path: str, new: str) -> None:
        """Rename, in the place of a file or link that is there."""
        old_directory, old_name, directory, name = self._split_both(path, new)
        kernel.rename(old_name, name, old_directory, directory)

    @named
    def rename_to_free_name(self, path: str, new: str) -> None:
        """Rename, but over nothing that is there; FileExistsError names ``new`` then."""
        old_directory, old_name, directory, name = self._split_both(path, new)
        try:
            kernel.rename_to_free_name(old_name, name, old_directory, directory)
        except FileExistsError:
            raise FileExistsError(
                errno.EEXIST, "Another process has put something here since the Install began", new
            ) from None

    def take(self, path: str, new: str, expected: Identity) -> None:
        """Rename an object into a private directory and see there that it is the one that is expected.

        What is another is put back, and MovedError raised.
        """
        self.rename(path, new)
        if not self.identity(new).is_same(expected, same_boot=self.same_boot):
            self.rename_to_free_name(new, path)
            raise MovedError(path)

    @named
    def remove_file(self, path: str) -> bool:
        """Remove a file or link; return whether there was one."""
        try:
            directory, name = self._split(path)
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            return False
        except OSError as error:
            # The kernel says this before it looks whether there is anything to remove.
            if error.errno == errno.EROFS and not self.is_there(path):
                return False
            raise
        return True

    @named
    def remove_empty(self, path: str) -> None:
        """Remove a directory that holds nothing."""
        directory, name = self._split(path)
        os.rmdir(name, dir_fd=directory)
        self._forget(path)

    @named
    def remove_all(self, path: str) -> None:
        """Remove whatever is at a path with all that it holds, over no mount; to be used below private directories."""
        directory, name = self._split(path)
        remove_tree(name, parent=directory)
        self._forget(path)

    @named
    def remove_empty_tree(self, path: str) -> bool:
        """Remove a directory and those in it, but nothing else; return whether it is gone. For private directories."""
        directory, name = self._split(path)
        self._forget(path)
        return remove_empty_tree(name, directory)

    def sync(self, paths: Iterable[str], *, objects: Iterable[str] = ()) -> None:
        """Write everything that is dirty on the file systems that hold these directories, each once.

        Where one is not there any more, the one above it stands for it. ``objects`` are files and directories that were
        changed themselves: something may be mounted on them.
        """
        seen: set[int] = set()
        for path in paths:
            self._sync_once(path, self._lowest(path), seen)
        for path in objects:
            with suppress(FileNotFoundError, MovedError), self.pinned(path) as pinned:
                self._sync_once(path, pinned, seen)

    @named
    def _sync_once(self, path: str, held: int, seen: set[int]) -> None:
        status = os.fstat(held)
        if status.st_dev not in seen and stat.S_IFMT(status.st_mode) in (stat.S_IFDIR, stat.S_IFREG):
            seen.add(status.st_dev)
            kernel.sync_held(held)

    def _lowest(self, path: str) -> int:
        while True:
            try:
                return self.open(path)
            except (FileNotFoundError, MovedError):
                path = path[: path.rfind("/")]

    def _forget(self, path: str) -> None:
        below = f"{path}/"
        for known in [known for known in self._open if known == path or known.startswith(below)]:
            os.close(self._open.pop(known))
            self._private.discard(known)
        for known in [known for known in self.identities if known == path or known.startswith(below)]:
            del self.identities[known]
            self._seen.discard(known)
