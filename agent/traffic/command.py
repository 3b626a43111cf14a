"""The operator's own programs, for whatever else stands in front of this host."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from agent.traffic.errors import TrafficError
from agent.traffic.provider import Limits, Look, Member, Stage, Step

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

    def limits(self, member: Member) -> Limits:
        """Our own limits."""
        return Limits(LIMIT, LIMIT)

    def _says(self, action: str, *, default: bool) -> bool:
        return self._run(action, accepted=(0, 1)) == 0 if self._config[action] else default

    def _run(self, action: str, *, accepted: Sequence[int]) -> int:
        import subprocess  # only needed for this kind of provider

        words, limit = self._config[action], self._config["command_seconds"]
        shown = " ".join(words)
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": os.environ.get("PATH", PATH), "TRAFFIC_ACTION": action},
                start_new_session=True,
                preexec_fn=_ending_with(os.getpid()),
            )
        except OSError as error:
            raise TrafficError(
                f"The {action} program {shown} cannot be run: {error.strerror}.",
                remedy="Check its path and its mode.",
            ) from error
        with process:
            try:
                output = process.communicate(timeout=limit)[0]
            except BaseException as error:
                # Its children too, or they would hold the pipe open.
                os.killpg(process.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                raise TrafficError(
                    f"The {action} program {shown} did not end within {limit:g} s.",
                    remedy="command_seconds sets how long it may take.",
                    passing=True,
                ) from error
        if process.returncode not in accepted:
            text = output.decode("utf-8", "replace").strip()[-_OUTPUT_SHOWN:]
            raise TrafficError(
                f"The {action} program {shown} ended with status {process.returncode}: {text or 'no output'}.",
                passing=process.returncode == TEMPORARY,
            )
        return process.returncode


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
