"""The process that does Installs for the walks, and the scenes that it plays."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

import pytest

from guards import require
from install_scene import SCENES
from install_stage import Stage
from install_trace import Server
from install_walk import Walk

MakeStage = Callable[[str], Stage]

# In memory a sync costs nothing; what is asked is the order of calls, not how a disk answers.
_MEMORY = "/dev/shm"


@pytest.fixture(scope="session")
def walk_directory() -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix="codedeploy-walk-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def server(walk_directory: str) -> Iterator[Server]:
    server = Server(walk_directory)
    yield server
    server.close()


@pytest.fixture
def make_stage(server: Server, walk_directory: str) -> Iterator[MakeStage]:
    """Set up a scene by its name, ready for the Install of version 2."""
    directory = tempfile.mkdtemp(dir=walk_directory)

    def make(name: str) -> Stage:
        if SCENES[name].in_place:
            require("mount")
        stage = Stage(name, os.path.join(directory, name), server)
        stage.prepare()
        return stage

    yield make
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def finish(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Assert that a walk has found nothing wrong, and tell how far it went."""

    def judge(what: str, walk: Walk, *, of: int | None = None) -> None:
        total = "" if of is None else f" of {of}"
        record_property("walk", f"{what}: {walk.points}{total} points")
        assert walk.points, f"{what} has visited nothing"
        assert not walk.problems, walk.report()

    return judge
