"""Whatever the host refuses a worker, and whenever: one result for each command, and a true one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from command_service import command_service
from failing_disk import FailingDisk
from install_walk import Walk
from worker_walk import WorkerWalk

ERRORS = ("EMFILE", "ENOMEM", "EIO", "ENOSPC", "EROFS")

pytestmark = pytest.mark.needs("tracing")


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[Path], WorkerWalk]]:
    """Gives a host with two revisions; its root directory is where the test says."""
    with ExitStack() as stack:

        def make(root: Path) -> WorkerWalk:
            walk = WorkerWalk(stack.enter_context(command_service()), tmp_path, root)
            stack.callback(walk.close)
            return walk

        yield make


def test_an_error_at_any_call_of_a_worker_makes_no_second_and_no_false_result(
    begin: Callable[[Path], WorkerWalk], tmp_path: Path, sample, record_property
) -> None:
    walk = begin(tmp_path / "root")
    every = walk.points()
    found = Walk()
    for number, point in sample(list(enumerate(every)), 8):
        error = ERRORS[number % len(ERRORS)]
        found.note(f"{error} in {point}", walk.disturb(point, error))
    assert not found.problems, found.report()
    record_property("walk", f"errors at calls of a worker: {found.points} of {len(every)} points")


@pytest.mark.soak_only  # tests/daemon/test_failing_disk.py has a disk that breaks while a script runs
@pytest.mark.needs("root", "mount", "disks")
@pytest.mark.parametrize("break_disk", [FailingDisk.turn_read_only, FailingDisk.die], ids=["read-only", "dead"])
def test_a_disk_that_breaks_at_any_call_of_a_worker_makes_no_second_and_no_false_result(
    begin: Callable[[Path], WorkerWalk], break_disk, tmp_path: Path, sample, record_property
) -> None:
    with FailingDisk(tmp_path) as disk:
        walk = begin(disk.path / "root")
        every = [point for point in walk.points() if point.event != "DownloadBundle" and point.call.changes]
        found = Walk()
        for point in sample(every, 8):
            disk.sync()
            found.note(point, walk.interrupt(point, lambda: break_disk(disk), disk.repair))
        assert not found.problems, found.report()
    record_property("walk", f"a broken disk at calls of a worker: {found.points} of {len(every)} points")
