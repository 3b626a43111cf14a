"""Rounds of one attack: in each, root does one Install, and somebody acts at one of its steps."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence

import neighbour_attacks as attacks
from neighbour_accounts import ACCOUNT, Program, by
from neighbour_host import NEVER, Host

_SHOWN = 15


def obstacle_at_the_end(host: Host, prepare: Callable[[], Program]) -> tuple[int, Program]:
    """Return a step at which an Install has begun to change names, and the program that makes it fail then.

    The Install makes ``app/new`` early and ``late.d`` last; the account takes that name, and all must be undone.
    """
    has_begun = host.run(prepare(), each=lambda: os.path.lexists(f"{host.app}/new")).results
    assert not has_begun[0]
    assert has_begun[-1], "the Install never got so far"
    return has_begun.index(True) + 1, by(ACCOUNT, lambda: attacks.swap(late(host), attacks.fifo))


def late(host: Host) -> str:
    """Return the last destination of an Install that is to fail."""
    return f"{host.home}/late.d"


class Rounds:
    """``prepare`` sets the host up and returns the Install, and ``act`` is what the account does.

    The numbers that ``act`` returns say how often it did something: an attack that never did shows nothing. ``before``
    runs in the process of the Install before it.
    """

    def __init__(
        self, host: Host, prepare: Callable[[], Program], act: Program, *, before: Program | None = None
    ) -> None:
        self._host = host
        self._prepare = prepare
        self._act = act
        self._before = before
        self._problems: list[str] = []
        self._acts = self._rounds = self._lost = 0

    def steps(self) -> list[int]:
        """Install undisturbed, and return the steps of that."""
        return list(range(1, self._host.run(self._prepare(), before=self._before).steps + 1))

    def steps_with_temporaries(self) -> list[int]:
        """Install undisturbed, and return the steps at which there are names of the agent's."""
        seen = self._host.run(self._prepare(), each=lambda: len(attacks.temporaries(self._host.home))).results
        return [step for step, number in enumerate(seen, 1) if number]

    def run(self, steps: Sequence[int], *, at: Mapping[int, Program] = NEVER, afterwards: bool = True) -> None:
        """Act at each of the steps, one a round, and fail with what was lost; something else may happen at others.

        Where nothing was lost, a recovery and the next deployment come ``afterwards``.
        """
        for step in steps:
            outcome = self._host.run(self._prepare(), at={**at, step: self._act}, before=self._before)
            self._acts += outcome.acts - len(at)
            found = [*outcome.problems, *self._host.losses()]
            self._note(step, found or (self._host.afterwards() if afterwards else []))
        self._judge()

    def run_after_kills(self, steps: Sequence[int]) -> None:
        """Kill the agent at each of the steps, one a round, act, and recover; fail with what was lost."""
        for step in steps:
            outcome = self._host.run(self._prepare(), at={step: lambda: os.kill(os.getpid(), signal.SIGKILL)})
            assert outcome.killed
            acts = self._act()
            self._acts += acts if isinstance(acts, int) else 0
            self._note(step, self._host.afterwards())
        self._judge()

    def _note(self, step: int, problems: Sequence[str]) -> None:
        self._rounds += 1
        self._lost += bool(problems)
        self._problems += [f"at step {step}: {problem}" for problem in problems]

    def _judge(self) -> None:
        assert self._acts, "nobody ever did anything, so that nothing is shown"
        assert not self._problems, self._report()

    def _report(self) -> str:
        shown = self._problems[:_SHOWN]
        rest = len(self._problems) - len(shown)
        first = f"{self._lost} of {self._rounds} rounds were lost"
        return "\n".join([first, *shown, *([f"and {rest} more"] if rest else [])])
