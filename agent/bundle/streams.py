"""The bytes of an archive in order: as they lie in the file, or decompressed, beside the writer in large files."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Protocol, TypeVar

from agent.errors import BundleError
from agent.filesystem.copying import copy_bytes
from agent.filesystem.durable import write_all

if TYPE_CHECKING:
    from queue import Queue

CHUNK = 256 * 1024

# Starting a thread costs more than it saves for a content of fewer bytes.
_WORTH_A_THREAD = 512 * 1024

_CHUNKS_AHEAD = 4

_Piece = TypeVar("_Piece", bytes, memoryview)


class ArchiveFile:
    """An archive as a file that is read from start to end; ``position`` says how far. Raises BundleError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.position = 0
        try:
            # Not blocking, or a fifo in the archive's place would hold the deployment for ever.
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise BundleError(f"{path}: the archive cannot be opened: {error.strerror}.") from error
        information = os.fstat(self.descriptor)
        self.size = information.st_size
        kind = information.st_mode & 0o170000
        if kind != 0o100000 or not self.size:
            self.close()
            if kind == 0o100000:
                raise BundleError(
                    f"{path}: the archive is empty: it has 0 bytes.",
                    remedy="Its making or its transfer failed: make it again and deploy the new one.",
                )
            what = "a directory" if kind == 0o040000 else "not a regular file"
            raise BundleError(f"{path}: an archive was expected, and this is {what}.")

    def close(self) -> None:
        os.close(self.descriptor)

    def rewind(self) -> None:
        self.position = os.lseek(self.descriptor, 0, os.SEEK_SET)

    def read(self, count: int = CHUNK) -> bytes:
        data = os.read(self.descriptor, count)
        self.position += len(data)
        return data

    def at(self, offset: int, count: int) -> bytes:
        """The bytes at an offset, without moving; fewer only where the file ends."""
        return os.pread(self.descriptor, count, offset)

    def error(self, what: str, *, remedy: str = "") -> BundleError:
        return BundleError(f"{self.path}: {what}.", remedy=remedy)


class ByteStream(Protocol):
    """What a reader of tar headers needs: a window of bytes that is moved forward."""

    buffer: bytes
    position: int

    def need(self, count: int) -> bool:
        """Make ``buffer[position:position + count]`` whole. False: the stream ends before that."""
        ...

    def skip(self, count: int) -> bool:
        """Move on without looking. False: the stream ends before that."""
        ...

    def copy_to(self, descriptor: int, count: int, moved: Callable[[], None]) -> bool:
        """Write the next bytes to a file, calling ``moved`` now and then. False: the stream ends before that."""
        ...

    def left(self) -> int | None:
        """How many bytes are left; None where that shows only at the end."""
        ...

    def drain(self, passed_over: Callable[[int], None]) -> None:
        """Read what is left, so that a decompressor has checked all of it, and call with the size of each piece."""
        ...

    def close(self) -> None: ...


class _Window:
    """The window of a stream, and how it grows; ``more`` gives the next bytes, none at the end."""

    def __init__(self, more: Callable[[], bytes]) -> None:
        self.buffer = b""
        self.position = 0
        self._more = more

    def need(self, count: int) -> bool:
        """See ``ByteStream``."""
        missing = count - (len(self.buffer) - self.position)
        if missing <= 0:
            return True
        # Joined once: a decompressor may give a byte at a time.
        pieces = [self.buffer[self.position :]]
        while missing > 0 and (more := self._more()):
            pieces.append(more)
            missing -= len(more)
        self.buffer, self.position = b"".join(pieces), 0
        return missing <= 0


class PlainStream(_Window):
    """The archive's own bytes. Large contents go from file to file inside the kernel."""

    def __init__(self, archive: ArchiveFile) -> None:
        super().__init__(archive.read)
        self._archive = archive

    def skip(self, count: int) -> bool:
        ahead = len(self.buffer) - self.position
        if count > ahead:
            archive = self._archive
            if archive.position + count - ahead > archive.size:
                return False
            archive.position = os.lseek(archive.descriptor, count - ahead, os.SEEK_CUR)
            self.buffer, self.position = b"", 0
        else:
            self.position += count
        return True

    def copy_to(self, descriptor: int, count: int, moved: Callable[[], None]) -> bool:
        first = min(count, len(self.buffer) - self.position)
        write_all(descriptor, memoryview(self.buffer)[self.position : self.position + first])
        self.position += first
        rest = count - first

        def progress(step: int) -> None:
            self._archive.position += step
            moved()

        return copy_bytes(self._archive.descriptor, descriptor, rest, progress=progress) == rest

    def left(self) -> int | None:
        return self._archive.size - self._archive.position + len(self.buffer) - self.position

    def drain(self, passed_over: Callable[[int], None]) -> None:
        # Nothing checks the bytes after the end of a plain tar, so they need not be read.
        self._archive.position = self._archive.size

    def close(self) -> None:
        pass


class ChunkStream(_Window):
    """A stream that comes in pieces of any size, as decompressors give them."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__(lambda: next(chunks, b""))
        self._chunks = chunks

    def skip(self, count: int) -> bool:
        for _ in self._pieces(count):
            pass
        return self._missing == 0

    def copy_to(self, descriptor: int, count: int, moved: Callable[[], None]) -> bool:
        with closing(in_background(self._pieces(count), count)) as pieces:
            for piece in pieces:
                write_all(descriptor, piece)
                moved()
        return self._missing == 0

    def left(self) -> int | None:
        return None

    def drain(self, passed_over: Callable[[int], None]) -> None:
        self.buffer, self.position = b"", 0
        for chunk in self._chunks:
            passed_over(len(chunk))

    def close(self) -> None:
        _close(self._chunks)

    def _pieces(self, count: int) -> Iterator[memoryview]:
        self._missing = count
        while self._missing:
            if self.position == len(self.buffer):
                self.buffer, self.position = next(self._chunks, b""), 0
                if not self.buffer:
                    return
            piece = memoryview(self.buffer)[self.position : self.position + self._missing]
            self.position += len(piece)
            self._missing -= len(piece)
            yield piece


def _close(chunks: Iterator[_Piece]) -> None:
    """Let a generator end what it holds: a thread, a program."""
    if isinstance(chunks, Generator):
        chunks.close()


def in_background(chunks: Iterator[_Piece], size: int) -> Generator[_Piece, None, None]:
    """The same chunks, made in a thread of their own a few ahead, where there are ``size`` bytes to make them from.

    Decompressing and writing then go on at the same time. Closing the result ends the thread.
    """
    if size < _WORTH_A_THREAD:
        yield from chunks
        return
    # Small contents need neither, and they cost start-up time.
    import queue
    import threading

    box: Queue[_Piece | BaseException | None] = queue.Queue(_CHUNKS_AHEAD)
    stopped = threading.Event()

    def work() -> None:
        outcome: BaseException | None = RuntimeError("the decompressing thread ended early")
        try:
            for chunk in chunks:
                box.put(chunk)
                if stopped.is_set():
                    break
            outcome = None
        except (BundleError, OSError, MemoryError) as error:
            outcome = error
        finally:
            _close(chunks)
            box.put(outcome)

    thread = threading.Thread(target=work, name="decompress", daemon=True)
    thread.start()
    try:
        while (item := box.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        while thread.is_alive():
            try:
                box.get(timeout=0.02)
            except queue.Empty:
                continue
        thread.join()
