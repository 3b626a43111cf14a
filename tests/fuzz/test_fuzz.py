"""What comes from elsewhere, changed at random for as long as it is told: FUZZ_MINUTES in all, half an hour in a soak.

A failure prints the smallest input that was found, to be given a name in ``FOUND`` of tests/fuzz/test_found.py.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fuzz_targets import TARGETS, Target

MINUTES = float(os.environ.get("FUZZ_MINUTES", "30"))
EXAMPLES = 300
"""Inputs between two looks at the clock."""

LONGEST = 20_000


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Inputs that were changed a little: bytes overwritten, removed, repeated, moved, taken from another seed."""
    seeds = list(target.seeds())
    positions = st.integers(min_value=0, max_value=1 << 20)
    lengths = st.one_of(st.integers(0, 8), st.integers(0, 600))
    pieces = st.one_of(
        st.binary(max_size=8),
        st.sampled_from(list(target.words)),
        st.builds(lambda one, at, length: _cut(one, at, length), st.sampled_from(seeds), positions, lengths),
        st.builds(lambda piece, times: piece * times, st.sampled_from(list(target.words)), st.integers(1, 200)),
    )
    changes = st.lists(st.tuples(positions, lengths, pieces), max_size=6)
    return st.one_of(st.builds(_changed, st.sampled_from(seeds), changes), st.binary(max_size=300))


def _cut(data: bytes, at: int, length: int) -> bytes:
    at %= len(data) + 1
    return data[at : at + length]


def _changed(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for at, gone, piece in changes:
        at %= len(data) + 1
        data = data[:at] + piece + data[at + gone :]
    return data[:LONGEST]


def fuzz(target: Target, directory: Path, *, examples: int, start: int) -> None:
    """Check so many inputs; an input that fails is made as small as it can be, and printed."""

    @seed(start)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(data=inputs(target))
    def run(data: bytes) -> None:
        try:
            target.check(directory, data)
        except BaseException as error:
            error.add_note(f"    ({target.name!r}, {data!r}),")
            raise

    run()


@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_what_comes_from_elsewhere_is_used_or_refused(target: Target, tmp_path: Path) -> None:
    fuzz(target, tmp_path, examples=40, start=1)


@pytest.mark.soak_only
@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_what_comes_from_elsewhere_is_used_or_refused_for_a_long_time(target: Target, tmp_path: Path) -> None:
    end = time.monotonic() + MINUTES * 60 / len(TARGETS)
    while time.monotonic() < end:
        fuzz(target, tmp_path, examples=EXAMPLES, start=random.randrange(1 << 32))
