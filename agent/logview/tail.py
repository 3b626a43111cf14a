"""Every line of one log, once: from its older files, then from the one in use, through rotations and truncations."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Generator, Iterator
from itertools import islice

from agent.logview.rotated import Opened, close, identity_of, open_files

CHUNK = 256 * 1024
"""Bytes that are read at once."""

MARK = 256
"""Bytes before the position that are remembered, to notice that a file was cut off and written again."""

DRAINED_FOR = 10.0
"""Seconds for which a file that was put aside is read on: a process may still be writing its last line there."""

ROTATIONS = 100
"""Rotations of one log that are followed before the other logs have their turn."""

LONGEST_LINE = 1024 * 1024
"""Bytes of a line; a longer one is cut into several."""


class _Reader:
    """Reads one open file from a position on; ``mark`` are some bytes of it, and ``at`` where they are."""

    def __init__(self, file: Opened, *, position: int = 0, rest: bytes = b"") -> None:
        self.file = file
        self.position = position
        self.rest = rest
        self.mark = b""
        self.at = 0
        self.put_aside = 0.0

    def lines(self) -> Iterator[bytes]:
        """Yield the complete lines up to the end of the file, or to where it was cut off."""
        while data := os.pread(self.file.descriptor, CHUNK, self.position):
            if self.was_cut():  # so this may be from the middle of what was written since
                return
            self.position += len(data)
            self.mark = (
                (self.mark + data)[-MARK:] if self.at + len(self.mark) == self.position - len(data) else data[-MARK:]
            )
            self.at = self.position - len(self.mark)
            *lines, self.rest = (self.rest + data).split(b"\n")
            yield from lines
            if len(self.rest) > LONGEST_LINE:
                line, self.rest = self.rest, b""
                yield line

    def was_cut(self) -> bool:
        """Return whether the file no longer has the bytes that are known of it."""
        return not self.is_copied_to(self.file)

    def is_copied_to(self, file: Opened) -> bool:
        """Return whether a file has the bytes that are known of this one."""
        return os.pread(file.descriptor, len(self.mark), self.at) == self.mark

    def begin_again(self, head: bytes) -> None:
        """Read on at the first byte of what was written since the file was cut off."""
        self.position, self.rest, self.mark, self.at = 0, b"", head, 0

    def has_more(self) -> bool:
        """Return whether there is something to read."""
        return os.fstat(self.file.descriptor).st_size != self.position

    def last(self) -> Iterator[bytes]:
        """Yield a last line that has no end, and close the file."""
        if self.rest:
            yield self.rest
        os.close(self.file.descriptor)


class Tail:
    """The lines of one log; files that were last written before ``since`` are left out."""

    def __init__(self, path: str, *, since: float = 0.0) -> None:
        self.path = path
        self._since = since
        self._current: _Reader | None = None
        self._aside: list[_Reader] = []
        self._seen: dict[tuple[int, int], bytes] = {}
        self._pending: Iterator[bytes] | None = None

    def take(self, most: int) -> list[bytes]:
        """Return the next lines that are there, fewer than ``most`` when there are no more now. Raises OSError."""
        if self._pending is None:
            self._pending = self._news()
        lines = list(islice(self._pending, most))
        if len(lines) < most:
            self._pending = None
        return lines

    def history(self) -> Iterator[bytes]:
        """Yield every line that is there, the last one also without an end, and close the files. Raises OSError."""
        yield from self._news()
        for reader in self._readers():
            yield from reader.last()
        self._aside, self._current = [], None

    def close(self) -> None:
        """Close the files; what is written from then on is not read."""
        close([reader.file for reader in self._readers()])
        self._aside, self._current, self._pending = [], None, iter(())

    def has_news(self) -> bool:
        """Return whether ``take`` would do something."""
        now = self._current.file.identity if self._current else None
        return any(reader.has_more() for reader in self._readers()) or identity_of(self.path) not in (None, now)

    def _readers(self) -> list[_Reader]:
        return [*self._aside, *filter(None, [self._current])]

    def _news(self) -> Iterator[bytes]:
        yield from self._drain()
        if self._current is None and os.path.isdir(os.path.dirname(self.path)):
            yield from self._read(self._without_copy_in_progress(self._unseen(open_files(self.path))), packed=True)
        for _ in range(ROTATIONS):
            current = self._current
            if current is None:
                return
            if not current.mark:
                yield from self._read_copies_before(current)
            yield from current.lines()
            if current.was_cut():
                goes_on = yield from self._go_on_after_cut(current)
            elif identity_of(self.path) not in (None, current.file.identity):
                goes_on = yield from self._go_on_after_rename(current)
            else:
                return
            if not goes_on:
                return

    def _go_on_after_rename(self, before: _Reader) -> Generator[bytes, None, bool]:
        """Read what is left of a file that was put aside, each file that came after it, and the one in use now.

        Return whether that was possible; else the log is being rotated again, and the next look shows more.
        """
        files = open_files(self.path)
        if not files or files[-1].path != self.path or files[-1].identity == before.file.identity:
            close(files)
            return False
        self._put_aside(before)
        yield from before.lines()
        place = [index for index, one in enumerate(files) if one.identity == before.file.identity]
        if place:
            close(files[: place[0] + 1])
            files = files[place[0] + 1 :]
        else:
            files = self._unseen(files)
        yield from self._read(files)
        return True

    def _go_on_after_cut(self, before: _Reader) -> Generator[bytes, None, bool]:
        """Read what is left in the copy of a file that was cut off, and each copy after it; then the file itself.

        Return whether that was possible, as above.
        """
        head = _head(before.file)  # first: a copy that is made from now on is of what is in the file now
        copies = self._copies(before)
        if copies is None:
            return False
        place = [index for index, one in enumerate(copies) if before.is_copied_to(one)]
        if place:
            self._note(copies[: place[-1] + 1])
            copy = _Reader(copies[place[-1]], position=before.position, rest=before.rest)
            copy.mark, copy.at = before.mark, before.at
            close(copies[: place[-1]])
            copies = copies[place[-1] + 1 :]
            yield from copy.lines()
            self._put_aside(copy)
        else:  # the first copy has nothing that was not read before the cut
            copies = self._unseen(copies)
            self._note(copies[:1])
            close(copies[:1])
            copies = copies[1:]
        before.begin_again(head)
        if head:
            yield from self._read(_without_copy_of(head, copies))
        else:  # which copies are complete is known once the file has a line again
            close(copies)
        return True

    def _read_copies_before(self, current: _Reader) -> Iterator[bytes]:
        """Read the copies that were made of a file before anything of it was read."""
        head = _head(current.file)
        copies = self._copies(current) if head else None
        if copies is not None:
            current.mark = head
            yield from self._read(_without_copy_of(head, self._unseen(copies)))

    def _copies(self, current: _Reader) -> list[Opened] | None:
        """Open what was copied from a file that is still in use; None while it is being put aside itself."""
        files = open_files(self.path)
        if not files or files[-1].path != self.path or files[-1].identity != current.file.identity:
            close(files)
            return None
        close([one for one in files if one.path.endswith(".gz") or one is files[-1]])
        return [one for one in files[:-1] if not one.path.endswith(".gz")]

    def _read(self, files: list[Opened], *, packed: bool = False) -> Iterator[bytes]:
        """Read files from the first byte on, except the one that is in use now, which comes next."""
        self._note(files)
        for one in files:
            if one.path == self.path:
                self._current = _Reader(one)
            elif os.fstat(one.descriptor).st_mtime < self._since:
                os.close(one.descriptor)
            elif one.path.endswith(".gz"):
                with gzip.open(os.fdopen(one.descriptor, "rb")) as unpacked:
                    yield from (line.removesuffix(b"\n") for line in unpacked if packed)
            else:
                reader = _Reader(one)
                self._put_aside(reader)
                yield from reader.lines()

    def _unseen(self, files: list[Opened]) -> list[Opened]:
        """Return the files that are not known yet, and close the others."""
        held = {reader.file.identity for reader in self._readers()}
        known = [one for one in files if one.identity in held or self._knows(one)]
        close(known)
        return [one for one in files if one not in known]

    def _knows(self, file: Opened) -> bool:
        # By its beginning too, because a new file may have the inode of one that was removed.
        head = self._seen.get(file.identity)
        return head is not None and _head(file).startswith(head)

    def _note(self, files: list[Opened]) -> None:
        self._seen |= {one.identity: _head(one) for one in files if one.path != self.path}

    def _without_copy_in_progress(self, files: list[Opened]) -> list[Opened]:
        if not files or files[-1].path != self.path:
            return files
        return [*_without_copy_of(_head(files[-1]), files[:-1]), files[-1]]

    def _put_aside(self, reader: _Reader) -> None:
        self._note([reader.file._replace(path="")])
        reader.put_aside = time.monotonic()
        self._aside.append(reader)

    def _drain(self) -> Iterator[bytes]:
        """Read on in the files that were put aside, as long as a process may be writing there."""
        for reader in self._aside[:]:
            yield from reader.lines()
            if time.monotonic() - reader.put_aside > DRAINED_FOR:
                self._aside.remove(reader)
                yield from reader.last()


def _head(file: Opened) -> bytes:
    return os.pread(file.descriptor, MARK, 0)


def _without_copy_of(head: bytes, files: list[Opened]) -> list[Opened]:
    """Return files without the newest, which is closed, where that is a copy of the file with this beginning."""
    if files and head and head.startswith(_head(files[-1])):
        close(files[-1:])
        return files[:-1]
    return files
