"""How a fleet polls: hosts with the agent's own schedule, one service, and a time that is only counted.

    .venv/bin/python tests/bench/fleet.py                          100,000 hosts; two or three minutes
    .venv/bin/python tests/bench/fleet.py --hosts 2000 --bucket 10

All hosts start in the same second. Then the service is down for ten minutes, and then answers 60 % of the polls that
the fleet needs, and throttles the others. For each phase a line says how many polls came in the fullest bucket, over
their mean while all is well, and the longest that any host was without an answer. It fails above a phase's target.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from agent.daemon.schedule import Poll, Schedule
from agent.retry import Clock

TAKEN = 0.05
"""Seconds until the service answers."""


class Phase(NamedTuple):
    """A part of the simulated time; ``served`` is the part of the polls needed that the service answers."""

    name: str
    seconds: float
    served: float
    most: float | None
    """The most polls in one bucket, over their mean; None where there is no target."""


def phases(wait: float) -> list[Phase]:
    """The times that a fleet goes through, one after the other."""
    return [
        Phase("start", 2 * wait, 1e9, None),
        Phase("steady state", 600, 1e9, 1.2),
        Phase("outage", 600, 0, None),
        Phase("after the outage", 180, 1e9, 2),
        Phase("steady state again", 300, 1e9, 1.2),
        Phase("60 % served", 600, 0.6, None),
        Phase("after the overload", 180, 1e9, 2),
    ]


class Fleet:
    """The hosts, when each polls next, and what came of it."""

    def __init__(self, hosts: int, wait: float, seed: int) -> None:
        chance = random.Random(seed).random
        self.now = 0.0
        clock = Clock(now=lambda: self.now, random=chance)
        self.need = hosts / wait
        self._hosts = [Schedule(wait_between_runs=wait, clock=clock) for _ in range(hosts)]
        self._due = [(chance(), host) for host in range(hosts)]
        heapq.heapify(self._due)
        self._answered = [0.0] * hosts

    def run(self, phase: Phase, end: float) -> Iterator[tuple[float, float]]:
        """Poll until the phase ends; yields the moment of each poll, and for how long its host had no answer."""
        served: Counter[int] = Counter()
        while self._due[0][0] < end:
            at, host = self._due[0]
            served[int(at)] += 1
            found = Poll.NOTHING if served[int(at)] <= phase.served * self.need else Poll.PASSING
            yield at, at - self._answered[host]
            if found is Poll.NOTHING:
                self._answered[host] = at
            self.now = at + TAKEN
            pause = self._hosts[host].pause_after(found, elapsed=TAKEN)
            heapq.heapreplace(self._due, (self.now + pause, host))


def main() -> int:
    """Print a line for each phase; gives 1 where a target is missed."""
    parser = argparse.ArgumentParser(description="How a fleet polls, in simulated time.")
    parser.add_argument("--hosts", type=int, default=100_000)
    parser.add_argument("--wait", type=float, default=30.0, help="wait_between_runs, in seconds")
    parser.add_argument("--bucket", type=int, default=1, help="seconds whose polls are counted together")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    fleet, begin, missed = Fleet(options.hosts, options.wait, options.seed), 0.0, False
    for phase in phases(options.wait):
        buckets: Counter[int] = Counter()
        silence = 0.0
        for at, silent in fleet.run(phase, begin + phase.seconds):
            buckets[int((at - begin) / options.bucket)] += 1
            silence = max(silence, silent)
        begin += phase.seconds
        peak = max(buckets.values()) / (fleet.need * options.bucket)
        verdict = "" if phase.most is None else f" at most {phase.most:g} {'met' if peak <= phase.most else 'MISSED'}"
        missed = missed or (phase.most is not None and peak > phase.most)
        print(f"{phase.name:<20} peak over mean {peak:6.2f}, longest silence {silence:5.0f} s{verdict}", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
