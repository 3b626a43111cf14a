"""Fetch one object in ranges, side by side, each going on after a broken connection from the byte it had reached."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from agent.bundle.download_retries import DownloadRetries
from agent.bundle.fetch import PartialFile, ProgressReporter, TransientError
from agent.bundle.replies import Reply, read_head, replaced, strong
from agent.bundle.streams import CHUNK
from agent.errors import AgentError, BundleError
from agent.network.errors import NetworkError
from agent.network.http import Response

if TYPE_CHECKING:
    import threading

FIRST = 8 * 1024 * 1024
"""Bytes that the first request asks for: smaller objects need no second one."""

PART = 16 * 1024 * 1024
MOST_PARTS = 1024
THREADS = 4

_LEAVE_AFTER = 0.5
"""Seconds to wait for a thread that is to end; one that waits for the network is left to end by itself."""


class Source(Protocol):
    """Where the bytes are."""

    @property
    def name(self) -> str:
        """The object, as messages call it."""
        ...

    def open(self, start: int, end: int | None, etag: str) -> Response:
        """Ask for the bytes from ``start`` to before ``end``, of the object with this ETag where one is given.

        An ``end`` of None means all from ``start`` on. Gives answers with the status 200, 206 and 416. Raises
        NetworkError and TransientError for what may be tried again, ObjectReplacedError, BundleError.
        """
        ...


class Fetched(NamedTuple):
    """What was fetched; ``headers`` are those of the first answer, and ``at_once`` says that it brought everything."""

    size: int
    etag: str
    headers: Mapping[str, str]
    at_once: bool


class Part:
    """A range of the object, and how far it is here; an ``end`` of None is not known before it is reached."""

    __slots__ = ("end", "position", "start")

    def __init__(self, start: int, end: int | None) -> None:
        self.start = self.position = start
        self.end = end

    @property
    def is_whole(self) -> bool:
        return self.position == self.end


def download(
    source: Source,
    file: PartialFile,
    *,
    reporter: ProgressReporter,
    retries: Callable[[], DownloadRetries],
    check: Callable[[str], None],
) -> Fetched:
    """Fetch a whole object into a file; ``check`` may refuse its ETag before anything is written.

    ``retries`` makes the retry policy of the first request and of each part. Raises ObjectReplacedError when the object
    was replaced meanwhile, NetworkError, BundleError.
    """
    return _Download(source, file, reporter, retries).run(check)


class _Stopped(Exception):  # noqa: N818 - no failure: another thread has failed
    pass


class _Shared(NamedTuple):
    """What the threads of a download have in common: the parts that wait, and a count of those that have ended."""

    waiting: Iterator[Part]
    taking: threading.Lock
    finished: threading.Semaphore


class _Download:
    def __init__(
        self, source: Source, file: PartialFile, reporter: ProgressReporter, retries: Callable[[], DownloadRetries]
    ) -> None:
        self._source = source
        self._file = file
        self._reporter = reporter
        self._retries = retries
        self._size: int | None = None
        self._etag = ""  # as the first answer has it
        self._strong = ""  # the same, where it stands for the very bytes
        self._parts: list[Part] = []
        self._error: BaseException | None = None
        self._stop = False

    def run(self, check: Callable[[str], None]) -> Fetched:
        reply = self._retries().run(self._first)
        headers = reply.response.headers
        try:
            check(reply.etag)
            self._size, self._etag, self._strong = reply.size, reply.etag, strong(reply.etag)
            self._file.reserve(reply.size or 0)
        except BaseException:
            reply.response.close()
            raise
        self._parts = list(_parts(reply))
        if len(self._parts) == 1:
            self._fill(self._parts[0], reply, self._file.descriptor, self._tell)
        else:
            self._side_by_side(reply)
        size = self._parts[-1].position
        if not all(part.is_whole for part in self._parts):
            raise BundleError(f"{self._source.name}: a part of it was not fetched.")
        self._tell()
        return Fetched(size, reply.etag, headers, len(self._parts) == 1)

    def _first(self) -> Reply:
        reply = self._reply(0, FIRST)
        if reply.is_range and not strong(reply.etag) and (reply.size or 0) > FIRST:
            # Without a strong ETag parts of two different objects could be put together.
            reply.response.close()
            reply = self._reply(0, None)
        return reply

    def _reply(self, start: int, end: int | None) -> Reply:
        response = self._source.open(start, end, self._strong)
        if response.status == 416 and start == 0:
            response.close()  # an empty object has no ranges
            response = self._source.open(0, None, self._strong)
        try:
            return read_head(response, start, self._source.name)
        except BaseException:
            response.close()
            raise

    def _fill(self, part: Part, reply: Reply | None, descriptor: int, tell: Callable[[], None]) -> None:
        """Bring a part here, with as many requests as that takes."""
        download_retries = self._retries()
        while True:
            before = part.position
            try:
                if reply is None:
                    reply = self._reply(part.position, part.end)
                    self._compare(reply)
                self._take(part, reply, descriptor, tell)
                if part.end is None:
                    part.end = part.position
                if part.is_whole:
                    return
                if part.position == before:
                    raise TransientError(f"{self._source.name}: an answer had nothing of what was asked for.")
            except (NetworkError, TransientError) as error:
                if self._stop:
                    raise _Stopped from error
                # Without a strong ETag the part begins anew, so nothing was gained.
                if self._strong and part.position > before:
                    download_retries.gained(part.position - before)
                download_retries.failed(error)
                if not self._strong:
                    part.position = part.start
            reply = None

    def _compare(self, reply: Reply) -> None:
        # Not left to If-Match alone: a cache or another server may not know it.
        if reply.etag != self._etag or (self._size is not None and reply.size not in (None, self._size)):
            reply.response.close()
            raise replaced(self._source.name)

    def _take(self, part: Part, reply: Reply, descriptor: int, tell: Callable[[], None]) -> None:
        skip = part.position - reply.start  # what came before, where the answer is the whole object again
        with reply.response as response:
            for chunk in response.chunks(CHUNK):
                if self._stop:
                    raise _Stopped
                if skip >= len(chunk):
                    skip -= len(chunk)
                    continue
                piece = chunk[skip:] if skip else chunk
                skip = 0
                if part.end is not None and len(piece) > part.end - part.position:
                    piece = piece[: part.end - part.position]
                    if not piece:
                        break
                self._file.write_at(descriptor, piece, part.position)
                part.position += len(piece)
                tell()

    def _tell(self) -> None:
        self._reporter.tell(sum(part.position - part.start for part in self._parts), self._size)

    def _side_by_side(self, first: Reply) -> None:
        import threading  # a small bundle needs none

        shared = _Shared(iter(self._parts[1:]), threading.Lock(), threading.Semaphore(0))
        others = min(THREADS, len(self._parts)) - 1
        jobs = [(shared, self._parts[0], first), *[(shared, None, None)] * others]
        started = []
        try:
            for job in jobs:
                thread = threading.Thread(target=self._work, args=job, name="fetch", daemon=True)
                thread.start()
                started.append(thread)
            left = len(started)
            while left and not self._error:
                left -= shared.finished.acquire(timeout=0.1)
                self._tell()
        finally:
            self._stop = True
            for thread in started:
                thread.join(_LEAVE_AFTER)
        if self._error is not None:
            raise self._error

    def _work(self, shared: _Shared, part: Part | None, reply: Reply | None) -> None:
        """Bring one part here after the other; a failure ends the other threads too."""
        descriptor = -1
        try:
            # A descriptor of its own: a thread that is left behind must not write into a file opened later.
            descriptor = os.dup(self._file.descriptor)
            while not self._stop:
                if part is None:
                    with shared.taking:
                        part = next(shared.waiting, None)
                if part is None:
                    return
                self._fill(part, reply, descriptor, _nothing)
                part = reply = None
        except _Stopped:
            return
        except (AgentError, OSError, MemoryError) as error:
            self._error = self._error or error
            self._stop = True
        finally:
            if descriptor >= 0:
                os.close(descriptor)
            shared.finished.release()


def _nothing() -> None:
    pass


def _parts(reply: Reply) -> Iterator[Part]:
    if not reply.is_range or reply.size is None or reply.size <= FIRST:
        yield Part(0, reply.size)
        return
    yield Part(0, FIRST)
    step = max(PART, reply.size // MOST_PARTS)
    for start in range(FIRST, reply.size, step):
        yield Part(start, min(start + step, reply.size))
