"""The fork server: ``python -m agent.worker.fork_server IDLE_SECONDS``, with a socket as its standard input.

It has imported what a worker needs for a hook, and forks a worker for each command that the supervisor names, in
milliseconds. It belongs to this one supervisor, whose end closes the socket and so ends the fork server; its workers
go on. Each request is the path of a command's directory, with two descriptors: the hand-off, which the worker reads
and the fork server does not, and a pipe on which the worker reports. So there is nothing here that a worker could
learn of another one: no settings, no secrets, no locks, no logs, no connections and no threads.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 - here and below: workers find imported what each of them needs
import gc
import os
import signal
import socket
import sys
import time
import traceback
from types import FrameType

import structlog  # noqa: F401

import agent.deployment.document
import agent.filesystem.kernel
import agent.hooks.runner
import agent.runtime.options
import agent.trust.envelope  # noqa: F401
from agent.worker.handoff import ENDED, NOT_FORKED, STARTED, render_report
from agent.worker.process import work

LONGEST_PATH = 8192
"""Bytes of a request; the kernel takes no path of 4096 bytes or more."""

SHORTEST_IDLE, LONGEST_IDLE = 1.0, 86400.0
"""Seconds for which the fork server waits at least, since it was started for a command, and at most."""

_OURS, _THEIRS = b"agent.worker.fork_server\0", b"agent.worker.process\0"


def main() -> int:
    """Fork workers until the supervisor is gone, or has asked for none for a while and the last has ended."""
    supervisor = socket.socket(fileno=os.dup(0))
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    os.chdir("/")
    signal.signal(signal.SIGCHLD, _reap)
    gc.collect()
    gc.freeze()  # a collection in a worker leaves these pages shared
    supervisor.settimeout(min(max(float(sys.argv[1]), SHORTEST_IDLE), LONGEST_IDLE))
    while True:
        try:
            path, descriptors, _, _ = socket.recv_fds(supervisor, LONGEST_PATH, 2)
        except TimeoutError:
            if _has_workers():
                continue
            return 0
        if not path:
            return 0
        if len(descriptors) == 2:
            _fork(os.fsdecode(path), *descriptors, supervisor=supervisor)
        else:  # this process may open no more; the end of the report has the supervisor ask again
            for descriptor in descriptors:
                os.close(descriptor)


def _reap(number: int, frame: FrameType | None) -> None:
    """Wait for the workers that have ended, so that the processor time of all counts for this process."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _has_workers() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _fork(path: str, handoff: int, report: int, *, supervisor: socket.socket) -> None:
    """Fork a worker for the command in a directory; where that is impossible, the report says so."""
    try:
        if os.fork() == 0:
            supervisor.close()
            _be_worker(path, handoff, report)
    except OSError as error:
        _write(report, NOT_FORKED, error.errno or 0)
    os.close(handoff)
    os.close(report)


def _be_worker(path: str, handoff: int, report: int) -> None:
    """Be a worker from here on, as fresh as a new process; it ends with this function."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.set_inheritable(handoff, False)
        os.set_inheritable(report, False)
        time.tzset()  # the host's time zone may be another one by now
        _name_worker()
        _write(report, STARTED, os.getpid())
        with open(handoff, "rb") as pipe:
            given = pipe.read()
        status = work(path, given)
    except BaseException:  # noqa: BLE001 - the outermost frame of the process
        traceback.print_exc()
    finally:
        _write(report, ENDED, status)
        os._exit(status)


def _write(report: int, word: str, number: int) -> None:
    with contextlib.suppress(OSError):  # the supervisor is gone
        os.write(report, render_report(word, number))


def _name_worker() -> None:
    """Have ``ps`` show the module of a worker in place of the fork server's; a kernel that refuses shows that."""
    import ctypes

    try:
        with open("/proc/self/cmdline", "rb") as file:
            arguments = file.read()
        at = arguments.index(_OURS)
        with open("/proc/self/stat", "rb") as file:
            start = int(file.read().rpartition(b")")[2].split()[45])
    except (OSError, ValueError, IndexError):
        return
    if start:
        left = len(arguments) - at
        ctypes.memmove(start + at, _THEIRS.ljust(left, b"\0"), left)


if __name__ == "__main__":
    sys.exit(main())
