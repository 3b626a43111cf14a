"""The supervisor's handle of its fork server, which forks a worker for each command."""

from __future__ import annotations

import logging
import os
import select
import selectors
import signal
import socket
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from agent.daemon.spawn import Child, pipe_with, spawn_module

STOP_LIMIT = 2.0
"""Seconds for which the end of the agent waits for that of its fork server."""

_log = logging.getLogger(__name__)


class _Startup(NamedTuple):
    """What a fork server was started with, and keeps to its end."""

    environment: Mapping[str, str]
    idle: float


class _Server(NamedTuple):
    """A fork server that runs; closing the socket ends it."""

    child: Child
    socket: socket.socket
    startup: _Startup


class ForkServer:
    """Starts the fork server with the first command, and again when it has ended or is to be another one.

    It belongs to this process alone, so none ever runs the code of another version. ``selector`` gets its pidfd, with
    what to call at its end as data.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._server: _Server | None = None

    def fork(self, path: str, handoff: bytes, *, environment: Mapping[str, str], idle: float) -> int:
        """Have a worker forked for a command's directory; return the descriptor of its report.

        The other end is closed when the worker has ended, or will never begin. Raises OSError.
        """
        startup = _Startup(dict(environment), idle)
        if self._server is not None and self._server.startup != startup:
            self._let_go()
        descriptors = [pipe_with(handoff)]
        try:
            report, writer = os.pipe()
            descriptors.append(writer)
            try:
                self._send(os.fsencode(path), descriptors, startup)
            except BaseException:
                os.close(report)
                raise
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return report

    def kill(self) -> None:
        """End a fork server that does not answer; the next command starts another one."""
        if self._server is not None:
            _log.error("The fork server %d does not answer and is killed", self._server.child.pid)
            os.kill(self._server.child.pid, signal.SIGKILL)
            self._let_go()

    def stop(self) -> None:
        """End the fork server, once it has forked what it was asked for, and wait for that a moment."""
        if self._server is not None:
            pidfd = self._server.child.pidfd
            self._let_go()
            poll = select.poll()  # select.select refuses descriptors from 1024 on
            poll.register(pidfd, select.POLLIN)
            poll.poll(STOP_LIMIT * 1000)

    def _send(self, path: bytes, descriptors: list[int], startup: _Startup) -> None:
        if self._server is not None:
            try:
                socket.send_fds(self._server.socket, [path], descriptors)
            except (BrokenPipeError, ConnectionResetError):
                self._let_go()  # it has ended since the last command
            else:
                return
        self._server = self._start(startup)
        socket.send_fds(self._server.socket, [path], descriptors)

    def _start(self, startup: _Startup) -> _Server:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                child = spawn_module(
                    "agent.worker.fork_server",
                    f"{startup.idle:g}",
                    stdin=theirs.fileno(),
                    environment=startup.environment,
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        self._selector.register(child.pidfd, selectors.EVENT_READ, partial(self._ended, child))
        _log.debug("Started the fork server %d", child.pid)
        return _Server(child, ours, startup)

    def _let_go(self) -> None:
        if self._server is not None:
            self._server.socket.close()
            self._server = None

    def _ended(self, child: Child) -> None:
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        if status:
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            _log.warning("The fork server %d %s; the next command starts another one", child.pid, how)
        if self._server is not None and self._server.child == child:
            self._let_go()
