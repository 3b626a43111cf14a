"""The process of a script supervisor, between the agent and one script.

It is the subreaper of everything that the script starts, so that a time-out finds every descendant of exactly this
script, and none of an earlier one. It outlives an agent that is killed: it still ends the script at its deadline, and
whatever writes to the script's output goes on writing.

The script supervisor is a fork of the agent without an exec, because a fresh interpreter would cost ten times as much.
So it keeps to plain system calls: it imports nothing, logs nothing and takes no locks.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import NoReturn

from agent.filesystem.reasons import place_and_reason, remedy_for
from agent.hooks import processes
from agent.hooks.channels import (
    DRAIN_BOTH,
    DRAIN_STDERR,
    DRAIN_STDOUT,
    REPORT_BROKEN,
    REPORT_ENDED,
    REPORT_STARTED,
    REPORT_STOPPED,
    REPORT_TIMED_OUT,
    Channels,
    close_all,
    high_pipe,
)
from agent.hooks.launch import CATCHABLE, Launch, become_script, reset_signals

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

END_TREE = signal.SIGTERM
"""The signal that asks the script supervisor to end the script and all its descendants."""

_AGENT_DIED = signal.SIGUSR1
_WATCHED = (signal.SIGCHLD, END_TREE, _AGENT_DIED)

_LONGEST_WAIT = 3600.0
_FIRST_KILL_PAUSE = 0.01
_LAST_KILL_PAUSE = 1.0  # for what cannot be killed now: asleep in a dead file system, say


class _Tree:
    """The script and its descendants, as the script supervisor sees them."""

    def __init__(
        self, launch: Launch, channels: Channels, prctl: Callable[..., int], *, agent: int, grace: float
    ) -> None:
        self.launch = launch
        self.channels = channels
        self.prctl = prctl
        self.agent = agent
        self.grace = grace
        self.script = 0
        self.drained = False


def keep(
    launch: Launch, channels: Channels, prctl: Callable[..., int], *, agent: int, deadline: float, grace: float
) -> NoReturn:
    """Be the script supervisor from here on; called right after the fork, with all signals blocked.

    ``agent`` is the pid of the parent, ``deadline`` monotonic seconds, ``grace`` the seconds between TERM and KILL.
    """
    tree = _Tree(launch, channels, prctl, agent=agent, grace=grace)
    report = channels.report[1]
    try:
        _detach(tree)
        failure = _start(tree)
        started = processes.look_up(tree.script)
        _tell(report, f"{REPORT_STARTED} {tree.script} {started.start_time if started else 0}")
        outcome = _watch(tree, deadline)
        if isinstance(outcome, int):
            _tell(report, f"{REPORT_ENDED} {outcome} {os.read(failure, 100).decode()}")
        else:
            _end(tree)
            _tell(report, outcome)
        _drain(tree, os.read(tree.channels.command[0], 1) or DRAIN_BOTH)  # nothing comes if the agent is gone
    except BaseException as error:  # noqa: BLE001 - the outermost frame of the process; nobody else would hear of it
        _tell(report, f"{REPORT_BROKEN} {_why(error)}")
    finally:
        os._exit(0)


def _detach(tree: _Tree) -> None:
    """Become a process of its own, holding nothing of the agent's: no terminal, no locks, no output."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would hide how the script ended
    gc.disable()  # finalisers of the agent's objects are not the script supervisor's to run
    channels = tree.channels
    # Of the agent's ends it keeps those that read the output: a pipe without a reader breaks its writer.
    ours = {*channels.supervisors(), channels.stdout[0], channels.stderr[0]}
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    close_all(descriptor for descriptor in _open_descriptors() if descriptor > 2 and descriptor not in ours)
    tree.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    tree.prctl(_PR_SET_PDEATHSIG, int(_AGENT_DIED), 0, 0, 0)
    if os.getppid() != tree.agent:
        os.kill(os.getpid(), _AGENT_DIED)


def _start(tree: _Tree) -> int:
    """Fork the script; gives the pipe that tells, once the script's process is gone, why it did not start."""
    channels = tree.channels
    reader, writer = high_pipe()
    tree.script = os.fork()
    if tree.script == 0:
        become_script(tree.launch, stdout=channels.stdout[1], stderr=channels.stderr[1], failure=writer)
    close_all((writer, channels.stdout[1], channels.stderr[1]))
    return reader


def _watch(tree: _Tree, deadline: float) -> int | str:
    """Wait for the script; gives its wait status, or the report for which the tree has to be ended."""
    while True:
        status = _reap_script(tree)
        if status is not None:
            return status
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return REPORT_TIMED_OUT
        received = signal.sigtimedwait(_WATCHED, min(remaining, _LONGEST_WAIT))
        if received is None:
            continue
        if received.si_signo == END_TREE:
            return REPORT_STOPPED
        if received.si_signo == _AGENT_DIED:
            _drain(tree, DRAIN_BOTH)


def _reap_script(tree: _Tree) -> int | None:
    found = None
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == tree.script:
            found = status
        if pid == 0 or found is not None:
            return found


def _end(tree: _Tree) -> None:
    """End every descendant: TERM, the grace, then KILL until none is left."""
    # su ends with what it has started. Told to end, it would write about that and wait for two seconds.
    spared = tree.script if tree.launch.login else None
    _signal(tree, signal.SIGTERM, spared)
    _signal(tree, signal.SIGCONT)
    told: set[int] = set()
    pause = tree.grace
    while not _childless(time.monotonic() + pause):
        found = _signal(tree, signal.SIGKILL)
        # What is new was forked meanwhile, and may be gone before a pause is over, leaving another.
        pause = 0.0 if found - told else min(2 * pause + _FIRST_KILL_PAUSE, _LAST_KILL_PAUSE)
        told |= found


def _childless(deadline: float) -> bool:
    """Reap until no child is left, which for a subreaper means no descendant, or until the deadline."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid == 0:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            signal.sigtimedwait((signal.SIGCHLD,), remaining)


def _signal(tree: _Tree, number: signal.Signals, spared: int | None = None) -> set[int]:
    """Send a signal to all descendants but one; gives the pids of those that were there."""
    found = set()
    denied = []
    for process in processes.descendants(os.getpid()):
        if process.pid == spared:
            continue
        try:
            if not processes.send_signal(process.pid, process.start_time, number):
                continue
        except PermissionError:
            denied.append(process.pid)
        found.add(process.pid)
    if denied and tree.launch.sudo:
        _signal_by_sudo(tree.launch, number, denied)
    return found


def _signal_by_sudo(launch: Launch, number: signal.Signals, pids: Iterable[int]) -> None:
    """Have another user's processes signalled by sudo, which started them; what is left shows what became of it."""
    # By the shell's own kill: small systems have no program of this name.
    words = [b"/bin/sh", b"-c", b'kill "$@"', b"sh", b"-%d" % number, *(b"%d" % pid for pid in pids)]
    command = [*launch.sudo, b"--", *words]
    os.posix_spawn(command[0], command, launch.environment, setsigmask=(), setsigdef=CATCHABLE)


def _drain(tree: _Tree, which: bytes) -> None:
    if tree.drained:  # since the agent died
        return
    tree.drained = True
    if which in (DRAIN_STDOUT, DRAIN_BOTH):
        _start_drainer(tree.channels.stdout[0])
    if which in (DRAIN_STDERR, DRAIN_BOTH):
        _start_drainer(tree.channels.stderr[0])


def _start_drainer(pipe: int) -> None:
    """Start a detached process that reads a pipe to its end, so that its writers are neither blocked nor broken.

    It is ``cat`` for its megabyte of memory, and a loop of ours where the host has no cat.
    """
    if os.fork() != 0:
        return
    try:
        os.setsid()
        os.dup2(pipe, 0)
        reset_signals()
        os.chdir("/")
        for program in ("/bin/cat", "/usr/bin/cat"):
            try:
                os.execve(program, ["cat"], {})
            except OSError:
                continue
        close_all(descriptor for descriptor in _open_descriptors() if descriptor > 2)
        while os.read(0, 65536):
            pass
    finally:
        os._exit(0)


def _why(error: BaseException) -> str:
    """Return what went wrong, as the beginning or middle of a sentence."""
    if isinstance(error, OSError | MemoryError):
        return f"{place_and_reason(error)}. {remedy_for(error)}".rstrip(" .")
    return repr(error)


def _tell(report: int, text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # the agent is gone
        os.write(report, text.encode() + b"\n")


def _open_descriptors() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/fd")]
