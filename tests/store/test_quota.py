"""The root directory stays within its size, and no revision goes that a host may need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.filesystem.disk_use import disk_use
from agent.store.bindings import Bindings
from agent.store.locks import group_lock
from agent.store.quota import keep_within
from host_records import HostRecords

SIZE = 1 << 20


class Host(HostRecords):
    """Two groups whose revisions take a megabyte each, the oldest of ``a`` first."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        for name in ("a/d-1", "b/d-2", "a/d-3", "b/d-4", "a/d-5"):
            group, deployment = name.split("/")
            self.deployment(deployment, group=group, files={"app": "x" * SIZE})

    def clean(self, megabytes: float) -> list[str]:
        """Make room for a new deployment of group ``a``; return what is gone, as GROUP/DEPLOYMENT."""
        os.makedirs(self.layout.deployment("a", "d-NEW"), exist_ok=True)
        gone = keep_within(self.layout, "a", "d-NEW", limit=int(megabytes * SIZE))
        return [os.path.relpath(path, self.layout.root_dir) for path in gone]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "root")


def test_the_oldest_revisions_of_all_groups_go_until_the_rest_fits(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert host.clean(10) == []
    assert host.clean(3.5) == ["a/d-1", "b/d-2"]
    assert disk_use(host.layout.root_dir).size <= 3.5 * SIZE
    assert "more than deployment_root_max_size allows (3.5 MiB)" in caplog.text
    assert f"Removed the old revision {host.layout.root_dir}/a/d-1" in caplog.text


def test_what_is_installed_unpacked_last_or_going_on_stays_and_the_log_says_that_it_is_too_much(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    layout = host.layout
    host.point(layout.last_successful("a"), layout.deployment("a", "d-1"))
    host.point(layout.most_recent("b"), layout.deployment("b", "d-2"))
    Bindings(layout).bind("x", "ApplicationStop", deployment_id="d-4", group_id="b")
    assert host.clean(0.5) == ["a/d-3", "a/d-5"]
    assert "no other revision may be removed. The deployment goes on" in caplog.text


def test_what_a_person_has_put_below_the_root_directory_stays(host: Host) -> None:
    backup = Path(host.layout.root_dir, "backup", "2019")
    backup.mkdir(parents=True)
    (backup / "dump").write_bytes(bytes(SIZE))
    os.utime(backup, (1, 1))
    assert host.clean(3.5) == ["a/d-1", "b/d-2", "a/d-3"]
    assert backup.exists()


def test_a_group_that_is_at_work_loses_nothing(host: Host) -> None:
    with group_lock(host.layout, "b"):
        assert host.clean(0.5) == ["a/d-1", "a/d-3", "a/d-5"]


def test_a_group_whose_install_was_interrupted_loses_nothing(host: Host) -> None:
    os.makedirs(os.path.dirname(host.layout.journal("a")))
    open(host.layout.journal("a"), "w").close()
    assert host.clean(0.5) == ["b/d-2", "b/d-4"]


def test_a_bundle_that_two_revisions_share_counts_once(host: Host) -> None:
    shared = host.layout.bundle(host.layout.deployment("a", "d-1"))
    Path(shared).write_bytes(bytes(4 * SIZE))
    for name in ("a/d-3", "a/d-5"):
        os.link(shared, host.layout.bundle(f"{host.layout.root_dir}/{name}"))
    for age, name in enumerate(("a/d-1", "b/d-2", "a/d-3", "b/d-4", "a/d-5")):
        os.utime(f"{host.layout.root_dir}/{name}", (1_000_000_000 + age,) * 2)
    assert host.clean(9.5) == []
    # Each of the two oldest gives its own megabyte back, and the bundle stays under its other names.
    assert host.clean(7.5) == ["a/d-1", "b/d-2"]
    assert disk_use(host.layout.root_dir).size <= 7.5 * SIZE


def test_without_knowing_the_good_revision_nothing_is_removed(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    os.makedirs(host.layout.last_successful("a"))
    assert host.clean(0.5) == []
    assert "Old revisions are kept" in caplog.text
