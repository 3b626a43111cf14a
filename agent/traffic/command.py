"""The operator's own programs, for whatever else stands in front of this host."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import IO, Any

from agent.filesystem.reasons import remedy_for
from agent.traffic.errors import TrafficError
from agent.traffic.provider import CallLimits, Look, Member, Stage, Step

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

TEMPORARY = 75
"""The exit status EX_TEMPFAIL of sysexits.h: to be run again."""

LIMIT = 300.0
"""Seconds for ``drained`` and for ``healthy`` to say yes."""

_OUTPUT_SHOWN = 500

_PR_SET_PDEATHSIG = 1


class Commands:
    """Programs to block and allow; ``status``, ``drained`` and ``healthy`` say yes by exit status 0, no by 1."""

    forgets = False

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config

    def find(self) -> list[Member]:
        """This host, in service unless ``status`` says otherwise."""
        is_in = self._says("status", default=True)
        step = Step.PLANNED if is_in else Step.WAS_OUT
        return [Member(self._config, self._config["name"], {}, "in" if is_in else "out", step)]

    def block(self, member: Member) -> None:
        """Run ``block``; any exit status but 0 is a failure."""
        self._run("block", accepted=(0,))

    def allow(self, member: Member) -> None:
        """Run ``allow``; any exit status but 0 is a failure."""
        self._run("allow", accepted=(0,))

    def look(self, member: Member) -> Look:
        """What ``status``, ``drained`` and ``healthy`` say; what there is no program for follows from the step."""
        is_in = self._says("status", default=member.step not in (Step.TAKEN, Step.WAS_OUT))
        if is_in:
            healthy = self._says("healthy", default=True)
            return Look(Stage.HEALTHY if healthy else Stage.STARTING, "in" if healthy else "in, not healthy")
        drained = self._says("drained", default=True)
        return Look(Stage.OUT if drained else Stage.DRAINING, "out" if drained else "out, not drained")

    def others(self, member: Member) -> int | None:
        """Nobody can tell."""
        return None

    def limits(self, member: Member) -> CallLimits:
        """Our own limits."""
        return CallLimits(LIMIT, LIMIT)

    def _says(self, action: str, *, default: bool) -> bool:
        return self._run(action, accepted=(0, 1)) == 0 if self._config[action] else default

    def _run(self, action: str, *, accepted: Sequence[int]) -> int:
        """Run a program to its own end, whatever it has left running, and give its exit status."""
        import tempfile  # only needed for this kind of provider

        with tempfile.TemporaryFile() as output:
            status = self._end_of(action, output)
            output.seek(max(output.seek(0, os.SEEK_END) - _OUTPUT_SHOWN, 0))
            text = output.read(_OUTPUT_SHOWN).decode("utf-8", "replace").strip()
        if status not in accepted:
            raise TrafficError(
                f"The {action} program {self._shown(action)} ended with status {status}: {text or 'no output'}.",
                passing=status == TEMPORARY,
            )
        return status

    def _end_of(self, action: str, output: IO[bytes]) -> int:
        import subprocess

        limit = self._config["command_seconds"]
        try:
            process = subprocess.Popen(
                self._config[action],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": os.environ.get("PATH", PATH), "TRAFFIC_ACTION": action},
                start_new_session=True,
                preexec_fn=_ending_with(os.getpid()),
            )
        except OSError as error:
            raise TrafficError(
                f"The {action} program {self._shown(action)} cannot be run: {error.strerror}.",
                remedy=remedy_for(error, otherwise="Check its path and its mode."),
            ) from error
        with process:
            try:
                return process.wait(limit)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)  # its children too
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                raise TrafficError(
                    f"The {action} program {self._shown(action)} did not end within {limit:g} s.",
                    remedy="command_seconds sets how long it may take.",
                    passing=True,
                ) from error

    def _shown(self, action: str) -> str:
        return " ".join(self._config[action])


def _ending_with(parent: int) -> Callable[[], None]:
    """What a new process does to be killed with its parent: its effect must not come after recovery has undone it."""
    import ctypes  # before the fork: afterwards nothing may be imported

    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # which has ended before it was asked for
            os._exit(1)

    return prepare
