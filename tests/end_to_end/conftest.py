"""One sandbox for all tests of a process, and a corner of it for each test: an application, a group, hosts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_fleet import Fleet
from sandbox_server import SandboxServer, running_sandbox


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with running_sandbox(tmp_path_factory.mktemp("end-to-end")) as running:
        yield running


@pytest.fixture
def fleet(sandbox: SandboxServer, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(sandbox, tmp_path)
    with contextlib.ExitStack() as stack:
        yield made
        for host in made.hosts:
            stack.enter_context(host)
