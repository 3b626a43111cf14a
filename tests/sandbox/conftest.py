"""One sandbox for all tests of a worker: each test has names of its own in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox_scene import Scene
from sandbox_server import SandboxServer, running_sandbox


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as server:
        server.set_limits(poll=0.3)  # a script that ends is in the middle of a poll
        yield server


@pytest.fixture
def scene(sandbox: SandboxServer) -> Iterator[Scene]:
    made = Scene(sandbox)
    yield made
    for host in made.hosts:
        host.stop()
