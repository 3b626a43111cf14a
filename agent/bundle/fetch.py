"""What fetching a bundle takes, wherever it lies: options, the file that grows, and the news of how far it is."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

from agent.errors import BundleError
from agent.filesystem.durable import remove_if_there, temporary_name
from agent.network.credentials import Credentials
from agent.network.http import HttpClient
from agent.text.sizes import human

GITHUB = "https://api.github.com"

Progress = Callable[[int, int], None]

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_LINE_EVERY = 10.0
_STEP_AFTER = 1.0

_log = logging.getLogger(__name__)


class FetchOptions(NamedTuple):
    """How this host reaches S3 and GitHub.

    ``credentials`` is asked before each request to S3; None sends requests without a signature.
    ``s3_endpoint`` and ``github_endpoint`` are URLs. ``stall`` is the longest time in seconds in which nothing comes,
    before a connection is given up and another one goes on.
    """

    http: HttpClient
    credentials: Callable[[], Credentials] | None
    region: str
    s3_endpoint: str | None = None
    fips: bool = False
    github_endpoint: str = GITHUB
    stall: float = 30.0


class TransientError(BundleError):
    """The other side could not serve a request now, but may a little later."""

    passing = True


class ObjectReplacedError(BundleError):
    """What is being fetched was replaced while it was."""


class DamagedError(BundleError):
    """What came is not what was sent for."""


class PartialFile:
    """A bundle that grows under a temporary name and gets its own by ``keep``; removed on leaving otherwise.

    What stood under the bundle's name stands until then. ``unpack`` syncs it, with the revision. Raises BundleError.
    """

    def __init__(self, destination: str, *, name: str, mode: int) -> None:
        self._destination = destination
        self._temporary = temporary_name(destination)
        self._name = name
        self._mode = mode
        try:
            remove_if_there(self._temporary)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self.descriptor = os.open(self._temporary, flags, 0o600)
        except OSError as error:
            raise self._explained(error, 0) from error

    def __enter__(self) -> PartialFile:
        return self

    def reserve(self, size: int) -> None:
        """Take the room for the whole bundle, so that a disk that is too small shows before anything is fetched."""
        try:
            os.ftruncate(self.descriptor, 0)
            if size:
                os.posix_fallocate(self.descriptor, 0, size)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise self._explained(error, size) from error
            # Some file systems cannot reserve anything; there a lack of room shows when it is met.
            _log.debug("No room is reserved for %s: %s", self._destination, error.strerror)

    def write_at(self, descriptor: int, data: bytes, offset: int) -> None:
        """Write all of the data at an offset, through this file's descriptor or a duplicate of it."""
        rest = memoryview(data)
        try:
            while rest:
                written = os.pwrite(descriptor, rest, offset)
                rest = rest[written:]
                offset += written
        except OSError as error:
            raise self._explained(error, 0) from error

    def cut(self, size: int) -> None:
        """Make the file end after so many bytes."""
        os.ftruncate(self.descriptor, size)

    def keep(self) -> None:
        """Give the bundle its mode and its name."""
        try:
            os.fchmod(self.descriptor, self._mode)
            os.rename(self._temporary, self._destination)
        except OSError as error:
            raise self._explained(error, 0) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)
        try:
            remove_if_there(self._temporary)
        except OSError as left:
            _log.warning("%s cannot be removed: %s", self._temporary, left.strerror)

    def _explained(self, error: OSError, size: int) -> BundleError:
        if error.errno not in _NO_ROOM:
            return BundleError(f"{self._name} cannot be written to {self._destination}: {error.strerror}.")
        amount = f"its {human(size)}" if size else "all of it"
        return BundleError(
            f"{self._name}: there is no room for {amount} on the file system of {self._destination}.",
            remedy="Free some space there (older revisions count towards max_revisions) and deploy again.",
        )


class ProgressReporter:
    """Tells a listener how far a download is, and the log every ten seconds or at every tenth of it."""

    def __init__(self, name: str, progress: Progress | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._progress = progress
        self._clock = clock
        self._started = self._line_time = clock()
        self._line_done = 0
        self._told = -1

    def tell(self, done: int, total: int | None) -> None:
        """So many bytes are here; ``total`` is None where nobody said how many there will be."""
        if self._progress is not None and total and done != self._told:
            self._told = done
            self._progress(done, total)
        now = self._clock()
        tenth = total is not None and done - self._line_done >= total / 10 and now - self._line_time >= _STEP_AFTER
        if tenth or now - self._line_time >= _LINE_EVERY:
            self._line_time, self._line_done = now, done
            of = f" of {human(total)} ({done / total:.0%})" if total else ""
            _log.info("%s: %s%s received", self._name, human(done), of)

    def ended(self, size: int) -> None:
        """All of it is here, and checked."""
        _log.info("Fetched %s: %s in %.1f s", self._name, human(size), self._clock() - self._started)
