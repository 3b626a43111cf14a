"""Starting our own programs: with posix_spawn, so that neither a shell nor a copy of this process is in between."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import signal
import sys
from collections.abc import Mapping
from typing import NamedTuple

_RESET = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGALRM, signal.SIGUSR1}


class Child(NamedTuple):
    """A started process; ``pidfd`` becomes readable when it has ended, ``output`` is the reading end of its output."""

    pid: int
    pidfd: int
    output: int = -1


def keep_descriptors() -> None:
    """Pass on to children nothing of what this process was given open but its standard streams."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the directory itself, closed by now
                os.set_inheritable(int(name), False)


def spawn_module(
    module: str,
    *arguments: str,
    handoff: bytes = b"",
    stdin: int | None = None,
    capture: bool = False,
    environment: Mapping[str, str],
) -> Child:
    """Start ``python -m module`` in a session of its own.

    ``handoff`` is what it reads from its standard input, unless that is to be the descriptor ``stdin``. Nothing of
    ours is inherited but standard error, and standard output unless it is captured. Raises OSError.
    """
    # -I: neither the environment nor the working directory decides which code a root process runs.
    command = [sys.executable, "-I", "-m", module, *arguments]
    reader = pipe_with(handoff) if stdin is None else os.dup(stdin)
    out_reader, out_writer = os.pipe() if capture else (-1, -1)
    actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, reader, 0)]
    if capture:
        actions.append((os.POSIX_SPAWN_DUP2, out_writer, 1))
    try:
        pid = os.posix_spawn(
            sys.executable, command, environment, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_RESET
        )
        pidfd = _open_pidfd(pid)
    except BaseException:
        if out_reader >= 0:
            os.close(out_reader)
        raise
    finally:
        for descriptor in (reader, out_writer):
            if descriptor >= 0:
                os.close(descriptor)
    return Child(pid, pidfd, out_reader)


def pipe_with(data: bytes) -> int:
    """Return the reading end of a pipe that holds all of this data, so that nothing waits. Raises OSError."""
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        if data and (written := os.write(writer, data)) < len(data):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, len(data) + mmap.PAGESIZE)  # the first page may be full in part
            if written + os.write(writer, data[written:]) < len(data):
                raise OSError(errno.ENOBUFS, f"{len(data)} bytes do not fit into a pipe")
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return reader


def _open_pidfd(pid: int) -> int:
    """A descriptor for a child that was just started; a child that could not be watched is ended."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def collect(child: Child) -> tuple[int, bytes]:
    """Wait for a captured child; gives its exit status (negative: the signal that ended it) and its output."""
    parts = []
    try:
        while part := os.read(child.output, 65536):
            parts.append(part)
    finally:
        os.close(child.output)
        os.close(child.pidfd)
    _, status = os.waitpid(child.pid, 0)
    return os.waitstatus_to_exitcode(status), b"".join(parts)
