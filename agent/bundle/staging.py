"""The directory in which a revision grows, and how it takes its place."""

from __future__ import annotations

import os
from contextlib import suppress
from types import TracebackType

from agent.filesystem.durable import sync_directory
from agent.filesystem.trees import remove_tree


class Staging:
    """A new directory beside ``destination``, closed to others; removed on leaving unless ``keep`` was called.

    Its names are fixed, so what a killed run left is found and removed by the next. Callers see to it that two runs
    never have the same destination. Raises OSError.
    """

    def __init__(self, destination: str) -> None:
        self.destination = os.path.abspath(destination)
        directory = os.path.dirname(self.destination)
        self._directory = directory
        self._path, self._old = _temporary_names(self.destination)
        self._kept = False
        self.top = ""
        """The name of the only directory in it, where that is to be the revision."""
        remove_leftovers(self.destination)
        os.mkdir(self._path, 0o700)
        try:
            self.descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            # Where a setgid bit comes down from above, every new file would get the group of this directory.
            os.fchown(self.descriptor, -1, os.getegid())
        except BaseException:
            os.rmdir(self._path)
            raise
        information = os.fstat(self.descriptor)
        self.identity = (information.st_dev, information.st_ino)

    def __enter__(self) -> Staging:
        return self

    def keep(self, mode: int, *, durably: bool = True) -> None:
        """Give the revision's directory its mode and put it in the place of the destination. Raises OSError.

        ``durably`` has it on the disk before it gets its name, so that after a power cut what has the name is whole.
        """
        revision = os.path.join(self._path, self.top) if self.top else self._path
        os.chmod(revision, mode)
        if durably:
            self._sync()
        replaced = os.path.lexists(self.destination)
        if replaced:
            os.rename(self.destination, self._old)
        try:
            os.rename(revision, self.destination)
        except BaseException:
            if replaced:
                os.rename(self._old, self.destination)
            raise
        self._kept = True
        if durably:
            sync_directory(self._directory)
        if replaced:
            self._remove_quietly(self._old)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self.descriptor)
        if not self._kept or self.top:
            self._remove_quietly(self._path)

    def _sync(self) -> None:
        from agent.filesystem.kernel import sync_file_system  # it loads ctypes, and costs start-up time

        # By the descriptor from before the first file: it hears of every error since, also of one that the process
        # which wrote ahead was told.
        sync_file_system(self.descriptor)

    def _remove_quietly(self, path: str) -> None:
        # What cannot be removed now is removed by the next run; it must neither fail a revision that is in its place
        # nor hide why one is not.
        with suppress(OSError):
            remove_tree(path)


def remove_leftovers(destination: str) -> None:
    """Remove what a killed run has left beside a destination. Raises OSError.

    Killed between its two renames it has left the older revision aside, and that one gets its name back.
    """
    staging, old = _temporary_names(destination)
    if os.path.lexists(old) and not os.path.lexists(destination):
        os.rename(old, destination)
    remove_tree(old)
    remove_tree(staging)


def _temporary_names(destination: str) -> tuple[str, str]:
    directory, name = os.path.split(destination)
    return os.path.join(directory, f".{name}.unpacking~"), os.path.join(directory, f".{name}.replaced~")
