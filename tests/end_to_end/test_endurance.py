"""An agent that has done many deployments is as small as one that has done two."""

from __future__ import annotations

import os
from typing import NamedTuple

import psutil
import pytest

from agent_fleet import Fleet
from agent_host import AgentHost

MIB = 1 << 20
SAMPLED, IN_FULL = 6, 500
LARGE_EVERY = 100
LARGE = 300 * MIB


class Size(NamedTuple):
    """What a process takes; memory in bytes, without what it shares with others."""

    memory: int
    descriptors: int
    threads: int
    processes: int


def size(host: AgentHost) -> Size:
    """The supervisor's size, once no worker and no fork server is left."""
    assert host.process is not None
    process = psutil.Process(host.process.pid)
    host.until(lambda: not host.workers() and not process.children(), "the workers to end")
    memory = process.memory_full_info().uss
    return Size(memory, process.num_fds(), process.num_threads(), len(host.mine()))


@pytest.mark.long  # nine deployments and more
def test_nothing_grows_over_many_deployments(fleet: Fleet, soak: bool) -> None:
    host = fleet.on_premises(max_revisions=2, fork_server_idle_seconds=2)
    host.start()
    fleet.group()
    small = fleet.upload(fleet.revision("small", {"ApplicationStart": "true"}))
    large = None
    if soak:
        source = fleet.revision("large", {})
        with (source / "app" / "large.bin").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, LARGE)
        large = fleet.upload(source, bundle_type="tar")
    for _ in range(3):
        assert fleet.deploy(small)["status"] == "Succeeded"
    before = size(host)
    for number in range(1, (IN_FULL if soak else SAMPLED) + 1):
        bundle = large if large is not None and number % LARGE_EVERY == 0 else small
        assert fleet.deploy(bundle)["status"] == "Succeeded", number
    after = size(host)
    assert after.memory - before.memory < MIB, (before, after)
    assert after[1:] == before[1:]
