"""Bundles that are directories of this host: copied, because hooks may write into what they get."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable
from functools import partial

from agent.bundle.names import entry_error
from agent.bundle.space import Need
from agent.bundle.writer import DEFAULT_DIRECTORY_MODE, TreeWriter
from agent.errors import BundleError
from agent.filesystem.copying import SMALL, copy_bytes
from agent.filesystem.durable import write_all
from agent.filesystem.helper_process import HelperProcess, is_worth_a_helper

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: a fifo that takes a file's place after it was looked at must not hold the deployment.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_STEP = 16 * 1024 * 1024

# What one walk copies: everything; directories and links; or the files of one half of the directories.
_ALL, _FRAME = -1, -2

_KINDS = (
    (stat.S_ISFIFO, "a named pipe (fifo)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


class DirectoryReader:
    """Copies one directory to the writer.

    As the official agent does it: files get their mode, setuid included, and directories 0755, both without what the
    umask takes; owners and times are those of new files; symbolic links are copied as links, hard links become
    files of their own. With ``exact_modes`` files and directories keep their modes as they are. Every directory is
    opened in the one above it without following links, so nobody who may change the source can lead the copy elsewhere.
    """

    def __init__(
        self,
        path: str,
        top: int,
        writer: TreeWriter,
        *,
        umask: int,
        forbidden: tuple[int, int],
        exact_modes: bool = False,
    ) -> None:
        self.copied = 0
        self._path = path
        self._top = top
        self._writer = writer
        self._umask = 0 if exact_modes else umask
        self._exact_modes = exact_modes
        self._forbidden = forbidden
        self._need = Need(1)
        self._counted = 1
        self._progress: Callable[[], None] = lambda: None

    def count(self, need: Need) -> None:
        """Add everything to ``need``, and refuse what cannot be copied. Raises BundleError, OSError."""
        self._need = need
        self._walk(self._count_entries)

    def copy(self, progress: Callable[[], None]) -> None:
        """Copy everything; ``copied`` is about the number of bytes so far. Raises BundleError, OSError."""
        self._progress = progress
        if not is_worth_a_helper(self._need.entries):
            self._walk(partial(self._copy_entries, _ALL))
            return
        self._walk(partial(self._copy_entries, _FRAME))
        with HelperProcess(self._copy_half) as helper:
            self._counted = 2  # the other process is about as far
            self._walk(partial(self._copy_entries, 0))
            try:
                helper.join()
            except OSError as error:
                self._writer.current = os.fsencode(error.filename or "")
                raise
        self.copied = self._need.size

    def _copy_half(self) -> None:
        """Copy half of the files, in the other process; an error bears the name of its entry there."""
        try:
            self._walk(partial(self._copy_entries, 1))
        except OSError as error:
            error.filename = os.fsdecode(self._writer.current)
            raise

    def _walk(self, visit: Callable[[int, bytes], list[bytes]]) -> None:
        """Visit a directory, then each directory in it. Holds a descriptor for each level, and no list of the files."""
        stack: list[tuple[int, bytes, list[bytes]]] = []
        try:
            # Opened anew and not duplicated: two walks at once must not share how far they have read it.
            self._descend(stack, visit, os.open(b".", _OPEN_DIRECTORY, dir_fd=self._top), b"")
            while stack:
                descriptor, name, directories = stack[-1]
                if directories:
                    leaf = directories.pop()
                    child = self._writer.current = _join(name, leaf)
                    self._descend(stack, visit, os.open(leaf, _OPEN_DIRECTORY, dir_fd=descriptor), child)
                else:
                    stack.pop()
                    os.close(descriptor)
        finally:
            for descriptor, _, _ in stack:
                os.close(descriptor)

    def _descend(
        self,
        stack: list[tuple[int, bytes, list[bytes]]],
        visit: Callable[[int, bytes], list[bytes]],
        descriptor: int,
        name: bytes,
    ) -> None:
        directories: list[bytes] = []
        stack.append((descriptor, name, directories))
        information = os.fstat(descriptor)
        if (information.st_dev, information.st_ino) == self._forbidden:
            raise BundleError(
                f"{self._path}: the bundle cannot be copied: the directory for deployments lies inside it.",
                remedy="Set root_dir to a directory outside the bundle, or deploy from a directory further down.",
            )
        directories += visit(descriptor, name)

    def _count_entries(self, directory: int, name: bytes) -> list[bytes]:
        directories = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    self._need.add(entry.stat(follow_symlinks=False).st_size)
                    continue
                self._need.add(0)
                if entry.is_dir(follow_symlinks=False):
                    directories.append(os.fsencode(entry.name))
                elif not entry.is_symlink():
                    leaf = os.fsencode(entry.name)
                    raise self._special(_join(name, leaf), entry.stat(follow_symlinks=False).st_mode)
        return directories

    def _copy_entries(self, part: int, directory: int, name: bytes) -> list[bytes]:
        # By the directory's name and not its turn, which may change from one walk to the next.
        files = part in (_ALL, zlib.crc32(name) & 1)
        frame = part in (_ALL, _FRAME)
        if name and frame:
            mode = os.fstat(directory).st_mode & 0o7777 if self._exact_modes else DEFAULT_DIRECTORY_MODE & ~self._umask
            self._writer.make_directory(name, mode, None, None)
        directories = []
        with os.scandir(directory) as entries:
            for entry in entries:
                leaf = os.fsencode(entry.name)
                path = self._writer.current = _join(name, leaf)
                if entry.is_dir(follow_symlinks=False):
                    directories.append(leaf)
                elif entry.is_symlink():
                    if frame:
                        self._writer.make_symlink(path, os.readlink(leaf, dir_fd=directory), None, None)
                elif files:
                    self._copy_file(directory, leaf, path)
        return directories

    def _copy_file(self, directory: int, leaf: bytes, path: bytes) -> None:
        source = os.open(leaf, _OPEN_FILE, dir_fd=directory)
        try:
            information = os.fstat(source)
            size = information.st_size
            if not stat.S_ISREG(information.st_mode):
                raise self._special(path, information.st_mode)
            mode = information.st_mode & 0o7777 & ~self._umask
            # One byte more is asked for than there should be: some file systems tell no size, and it shows here.
            data = os.read(source, size + 1)[: size or 1] if size <= SMALL else b""
            if len(data) == size:
                self._writer.write_file(path, data, mode, None, None)
                self._moved(size)
                return

            def fill(target: int) -> None:
                write_all(target, data)
                self._moved(len(data))
                if size:
                    # A file that is growing is copied as long as it was when it was opened.
                    copy_bytes(source, target, size - len(data), progress=self._moved)
                else:
                    self._fill_to_the_end(source, target)

            self._writer.fill_file(path, size, fill, mode, None, None)
        finally:
            os.close(source)

    def _fill_to_the_end(self, source: int, target: int) -> None:
        while step := copy_bytes(source, target, _STEP, progress=self._moved):
            self._writer.take_room(step)

    def _moved(self, size: int) -> None:
        self.copied += size * self._counted
        self._progress()

    def _special(self, name: bytes, mode: int) -> BundleError:
        kind = next((words for test, words in _KINDS if test(mode)), "neither file nor directory nor link")
        remedy = "A revision may hold only files, directories and links: remove it from the bundle."
        return entry_error(self._path, name, f"is {kind}", remedy=remedy)


def _join(directory: bytes, leaf: bytes) -> bytes:
    return directory + b"/" + leaf if directory else leaf
