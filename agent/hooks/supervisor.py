"""The agent's handle of a script supervisor, the small process between the agent and one script."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from agent.hooks.channels import DRAIN_NONE, Channels, close_all
from agent.hooks.launch import CATCHABLE, Launch
from agent.hooks.supervisor_process import END_TREE, keep


class ScriptSupervisor:
    """The agent's handle of a script supervisor process, and of the script below it.

    ``deadline`` is on the monotonic clock in seconds; ``grace`` are the seconds between TERM and KILL. Used as a
    context manager, which leaves no descriptor open. Raises OSError if the host has no room for more processes.
    """

    def __init__(self, launch: Launch, *, deadline: float, grace: float) -> None:
        self._channels = channels = Channels.open()
        prctl = _load_prctl()
        agent = os.getpid()
        # No handler of the agent may run in the script supervisor, and no Ctrl-C come between the fork and the handle.
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, CATCHABLE)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                keep(launch, channels, prctl, agent=agent, deadline=deadline, grace=grace)
        except BaseException:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            close_all((*channels.agents(), *channels.supervisors()))
            raise
        close_all(channels.supervisors())
        self.stdout, self.stderr, self.report, self._command = channels.agents()
        self._gone = False

    def __enter__(self) -> ScriptSupervisor:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the script supervisor; whatever still holds the script's output finds it drained from now on."""
        close_all((self.stdout, self.stderr, self.report, self._command))
        if not self._gone:
            self._reap(os.WNOHANG)

    def let_signals_in(self) -> None:
        """Deliver signals to the agent again; from here on the caller is ready for a KeyboardInterrupt."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def end_tree(self) -> None:
        """Ask for the end of the script and of all that it started; the supervisor reports when nothing is left."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, END_TREE)

    def release(self, drain: bytes = DRAIN_NONE) -> None:
        """Send the script supervisor home after it has reported; ``drain`` says which outputs are read to their end."""
        with contextlib.suppress(BrokenPipeError):  # somebody has killed it
            os.write(self._command, drain)
        self._reap(0)

    def _reap(self, flags: int) -> None:
        try:
            pid, _ = os.waitpid(self.pid, flags)
            self._gone = pid != 0
        except ChildProcessError:  # the agent ignores SIGCHLD, so the system reaps
            self._gone = True


def _load_prctl() -> Callable[..., int]:
    import ctypes  # only where a script runs, because it costs start-up time

    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    prctl.restype = ctypes.c_int
    return prctl
