"""A second process for a part of a long piece of work, where there is a second processor.

The kernel makes one file after the other for one process; for two it makes two at a time. Threads would not do: what
Python does for each file takes as long as what the kernel does, and only one thread does it at a time.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

from agent.filesystem.durable import sync_file_systems

WORTH_A_HELPER = 1000
"""Files to make; with fewer the second process costs more than it saves."""

WORTH_WRITING_AHEAD = 16 * 1024 * 1024
"""Bytes to write; what is less the disk has soon written at the end."""

SYNC_PAUSE = 0.1
"""Seconds between two rounds of writing ahead."""

_PR_SET_PDEATHSIG = 1


def is_worth_a_helper(files: int) -> bool:
    """Tell whether so many files should be made by two processes on this machine."""
    return files >= WORTH_A_HELPER and _has_a_second_processor()


def is_worth_writing_ahead(size: int) -> bool:
    """Tell whether the disk should write so many bytes while they are still made on this machine."""
    return size >= WORTH_WRITING_AHEAD and _has_a_second_processor()


def _has_a_second_processor() -> bool:
    return len(os.sched_getaffinity(0)) > 1


class HelperProcess:
    """A child of this process that does a part of its work beside it; to be used as a context manager.

    It is a fork, so it holds the locks that this process holds, and the kernel ends it with this process: nobody else
    can take such a lock while the child is still at work. Leaving the block early ends the child. Where the system has
    no room for another process, ``is_alone`` is true and ``join`` does the work.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self.is_alone = False
        self._work = work
        self._pid = 0
        self._said = -1

    def __enter__(self) -> HelperProcess:
        """Start. Raises OSError."""
        import ctypes  # only needed for large pieces of work, and it costs start-up time

        prctl = ctypes.CDLL(None).prctl
        parent = os.getpid()
        self._said, says = os.pipe()
        # Until the child decides by itself: what this process does about a signal is not the child's to do.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            try:
                self._pid = _fork()
                self.is_alone = self._pid < 0
                if self._pid == 0:
                    prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
                    if os.getppid() == parent:
                        _do(self._work, says)
                    os._exit(1)
            finally:
                os.close(says)
                signal.pthread_sigmask(signal.SIG_SETMASK, held)
        except BaseException:
            # There is no block yet that would end the child; an interrupt that came meanwhile is raised above.
            self.__exit__(None, None, None)
            raise
        return self

    def join(self) -> None:
        """Wait until the child has done its part. Raises what it raised, ChildProcessError when it was killed."""
        if self.is_alone:
            self._work()
            return
        said = b""
        while more := os.read(self._said, 65536):
            said += more
        status = self._reap()
        if said:
            import pickle  # as below: only needed where something has gone wrong

            raise pickle.loads(said)
        if status != 0:
            raise ChildProcessError(f"the process that did a part of the work ended with status {status}")

    def ask_to_end(self) -> None:
        """Tell the child by SIGTERM, which it holds back, that it may stop."""
        os.kill(self._pid, signal.SIGTERM)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pid > 0:
            os.kill(self._pid, signal.SIGKILL)
            self._reap()
        if self._said >= 0:
            os.close(self._said)
            self._said = -1

    def _reap(self) -> int:
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        return os.waitstatus_to_exitcode(status)


def _fork() -> int:
    """As ``os.fork``, but -1 where there are as many processes as may be, or no memory for another."""
    try:
        return os.fork()
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.ENOMEM):
            raise
        return -1


def _do(work: Callable[[], None], says: int) -> None:
    """Be the child: do the work, say what went wrong, and never return."""
    status = 1
    try:
        work()
        status = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, the other process raises it
        import pickle

        said = pickle.dumps(error)
        while said:
            said = said[os.write(says, said) :]
    finally:
        os._exit(status)


@contextmanager
def written_ahead(directories: Iterable[str]) -> Iterator[None]:
    """Have the disk write while the block still makes files, so that the sync at its end finds little to do.

    Raises OSError at the end of the block for what could not be written meanwhile: the kernel tells of such an error
    only once, so the sync that follows would not hear of it.
    """
    listed = list(directories)
    with HelperProcess(lambda: _write_ahead(listed)) as helper:
        yield
        if not helper.is_alone:
            helper.ask_to_end()
            helper.join()


def _write_ahead(directories: Iterable[str]) -> None:
    while not signal.sigtimedwait({signal.SIGTERM}, SYNC_PAUSE):
        sync_file_systems(directories)
