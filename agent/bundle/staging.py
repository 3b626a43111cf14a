"""The folder in which a revision grows, and how it takes its place."""

from __future__ import annotations

import os
from contextlib import suppress
from types import TracebackType

from agent.filesystem.trees import remove_tree


class Staging:
    """A new folder beside ``destination``, closed to others; removed on leaving unless ``keep`` was called.

    Its names are fixed, so what a killed run left is found and removed by the next. Callers see to it that two runs
    never have the same destination. Raises OSError.
    """

    def __init__(self, destination: str) -> None:
        self.destination = os.path.abspath(destination)
        folder, name = os.path.split(self.destination)
        self._path = os.path.join(folder, f".{name}.unpacking~")
        self._old = os.path.join(folder, f".{name}.replaced~")
        self._kept = False
        self.top = ""
        """The name of the only folder in it, where that is to be the revision."""
        self._tidy()
        os.mkdir(self._path, 0o700)
        try:
            self.descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            # Where a setgid bit comes down from above, every new file would get the group of this folder.
            os.fchown(self.descriptor, -1, os.getegid())
        except BaseException:
            os.rmdir(self._path)
            raise
        information = os.fstat(self.descriptor)
        self.identity = (information.st_dev, information.st_ino)

    def _tidy(self) -> None:
        # Killed between the two renames of keep(): the older revision is the one that counts.
        if os.path.lexists(self._old) and not os.path.lexists(self.destination):
            os.rename(self._old, self.destination)
        remove_tree(self._old)
        remove_tree(self._path)

    def __enter__(self) -> Staging:
        return self

    def keep(self, mode: int) -> None:
        """Give the revision's folder its mode and put it in the place of the destination. Raises OSError."""
        revision = os.path.join(self._path, self.top) if self.top else self._path
        os.chmod(revision, mode)
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
        if replaced:
            self._remove_quietly(self._old)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self.descriptor)
        if not self._kept or self.top:
            self._remove_quietly(self._path)

    def _remove_quietly(self, path: str) -> None:
        # What cannot be removed now is removed by the next run; it must neither fail a revision that is in its place
        # nor hide why one is not.
        with suppress(OSError):
            remove_tree(path)
