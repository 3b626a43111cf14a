"""A large Install, in which two processes make the files: it comes to the same, also where one of the two fails."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from agent.errors import InstallError
from agent.filesystem import helper_process
from agent.filesystem.locks import FileLock
from agent.install.installer import recover
from agent.install.options import InstallOptions
from guards import require
from host_tree import snapshot
from install_box import NOBODY, Box, Link, put

COUNT = 40
LIMIT = 1 << 20
FILES = {f"app/directory-{number // 10}/file-{number}": f"content {number}" for number in range(COUNT)}
OLD = {**dict.fromkeys(list(FILES)[: COUNT // 2], "old"), "app/gone": "old"}

KILLED = """
import os, signal, sys
from agent.filesystem import helper_process
from agent.filesystem.locks import FileLock
from install_box import Box
helper_process.WORTH_A_HELPER = 10
lock = FileLock(sys.argv[2], purpose="the test")
lock.acquire()
def die(done, total):
    if done >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
box = Box(sys.argv[1])
box.install(sys.argv[4], progress=die)
"""


@pytest.fixture(autouse=True)
def two_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    require("processors")
    monkeypatch.setattr(helper_process, "WORTH_A_HELPER", 10)


@contextmanager
def small_files_only() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_all_files_come_with_content_mode_and_time(box: Box) -> None:
    archive = box.revision({**FILES, "app/directory-1/link": Link("file-10"), "app/empty": None})
    for number, name in enumerate(FILES):
        os.chmod(f"{archive}/{name}", (0o600, 0o644, 0o4755)[number % 3])
        os.utime(f"{archive}/{name}", (10**9, 10**9 + number))
    box.install(archive)
    desired = snapshot(f"{archive}/app")
    found = snapshot(f"{box.dest}/out")
    files = {name for name in desired if "file-" in name}
    assert len(files) == COUNT
    assert {name: found[name] for name in files} == {name: desired[name] for name in files}
    assert found.keys() == desired.keys()


@pytest.mark.needs("root")
def test_permissions_reach_the_files_of_both(box: Box) -> None:
    from agent.appspec.model import Permission

    owned = Permission("/", "**", (), str(NOBODY), None, 0o640, frozenset({"file"}), (), None, 1)
    box.install(FILES, permissions=[owned._replace(object=f"{box.dest}/out")])
    found = [os.stat(f"{box.dest}/out/{name.removeprefix('app/')}") for name in FILES]
    assert {(status.st_uid, status.st_mode & 0o7777) for status in found} == {(NOBODY, 0o640)}


def test_progress_ends_at_its_total_and_never_goes_back(box: Box) -> None:
    seen: list[tuple[int, int]] = []
    box.install({**FILES, "app/one-more": "1"}, progress=lambda *progress: seen.append(progress))
    done = [step for step, _ in seen]
    assert done == sorted(done)
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize(("size", "writers"), [(999, {0}), (1000, {1})])
def test_the_disk_writes_while_a_large_file_is_built(
    box: Box, monkeypatch: pytest.MonkeyPatch, size: int, writers: set[int]
) -> None:
    monkeypatch.setattr(helper_process, "WORTH_WRITING_AHEAD", 1000)
    before = psutil.Process().children()
    meanwhile = set()
    box.install(
        {"app/large": "x" * size},
        progress=lambda done, total: meanwhile.add(len(psutil.Process().children()) - len(before)),
    )
    assert meanwhile == writers
    assert psutil.Process().children() == before


@pytest.mark.parametrize("half", [0, -1], ids=["this process", "the other process"])
def test_an_error_of_either_names_the_file_and_leaves_the_host_as_it_was(box: Box, half: int) -> None:
    box.install(OLD)
    before = box.tree()
    archive = box.revision(FILES)
    plan = box.plan(archive)
    built = [step.entry for step in plan.operations if step.temp and step.entry] + [entry for entry, _ in plan.nested]
    too_large = [entry for entry in built if entry.kind == "file"][half]
    os.truncate(too_large.source, 2 * LIMIT)
    with small_files_only(), pytest.raises(InstallError, match=too_large.path):
        box.install(archive)
    assert box.tree() == before


def test_an_interrupt_leaves_the_host_as_it_was(box: Box) -> None:
    box.install(OLD)
    before = box.tree()

    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        box.install(FILES, progress=interrupt)
    assert box.tree() == before


@pytest.mark.parametrize("after", [1, 8, 20, 36])
def test_a_kill_is_recovered_from_as_soon_as_the_lock_is_free(box: Box, after: int) -> None:
    box.install(OLD)
    before = box.tree()
    lock = put(f"{box.top}/lock", "")
    archive = box.revision(FILES)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", KILLED, box.top, lock, str(after), archive]
    assert subprocess.run(command, env=environment).returncode == -9
    held = FileLock(lock, purpose="the test")
    held.acquire(limit=3600)
    with held:
        assert recover(box.root, options=InstallOptions())
    assert box.tree() == before
    box.install(archive)
    assert len(os.listdir(f"{box.dest}/out")) == COUNT // 10
