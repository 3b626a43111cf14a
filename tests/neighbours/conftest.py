"""The host of an attack, and how often it is tried."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence

import pytest

from guards import require
from neighbour_host import Host

# In memory a sync costs nothing; what is asked is who can get at what, not how a disk answers.
_MEMORY = "/dev/shm"

FEW_ROUNDS = 6
MANY_ROUNDS = 300


@pytest.fixture
def host() -> Iterator[Host]:
    """A host whose directories every account may enter, which those of pytest do not allow."""
    require("root", "users")
    top = tempfile.mkdtemp(prefix="codedeploy-test-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
    os.chmod(top, 0o755)
    host = Host(top)
    yield host
    host.clear()
    shutil.rmtree(top, ignore_errors=True)


@pytest.fixture
def choose(request: pytest.FixtureRequest, soak: bool) -> Callable[[Sequence[int]], list[int]]:
    """Choose the steps of an Install at which an account acts, one a round.

    Without the fixture ``sample``, for which `make test-hosts` would repeat what `make test` has done.
    """
    if soak:
        return lambda steps: list(steps[:: -(-len(steps) // MANY_ROUNDS)])
    chance = random.Random(f"{request.config.getoption('--sample-seed')}:{request.node.nodeid}")
    return lambda steps: sorted(chance.sample(steps, min(FEW_ROUNDS, len(steps))))


@pytest.fixture
def rounds(soak: bool) -> int:
    """How often a race is run."""
    return MANY_ROUNDS if soak else FEW_ROUNDS
