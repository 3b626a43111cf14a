from __future__ import annotations

import os

import pytest

from agent.history.prune import prune
from agent.history.read import read_host
from agent.store.bindings import Bindings
from agent.store.locks import group_lock
from host_records import HostRecords


@pytest.fixture
def five(records: HostRecords) -> HostRecords:
    """Five deployments of one group, the oldest the last successful one and the second one unpacked last."""
    for number in range(5):
        directory = records.deployment(f"d-{number}", files={"app": "x" * 5000})
        if number == 0:
            records.point(records.layout.last_successful("g"), directory)
        if number == 1:
            records.point(records.layout.most_recent("g"), directory)
    return records


def there(records: HostRecords) -> list[str]:
    return sorted(os.listdir(records.layout.group("g")))


def test_the_oldest_go_and_what_is_in_use_stays(five: HostRecords) -> None:
    found = prune(five.layout, "g", keep=3, dry_run=False)
    assert [os.path.basename(row.path) for row in found.removed] == ["d-2", "d-3"]
    assert all(row.disk.size >= 5000 for row in found.removed)
    assert there(five) == ["d-0", "d-1", "d-4"]
    assert prune(five.layout, "g", keep=1, dry_run=False).removed[0].path.endswith("d-4")
    assert there(five) == ["d-0", "d-1"]


def test_a_dry_run_names_them_and_removes_nothing(five: HostRecords) -> None:
    assert len(prune(five.layout, "g", keep=3, dry_run=True).removed) == 2
    assert len(there(five)) == 5


def test_a_deployment_that_goes_on_stays_between_its_events(five: HostRecords) -> None:
    Bindings(five.layout).bind("x", "ApplicationStop", deployment_id="d-2", group_id="g")
    prune(five.layout, "g", keep=1, dry_run=False)
    assert there(five) == ["d-0", "d-1", "d-2"]


def test_while_a_deployment_is_in_progress_nothing_is_removed(
    five: HostRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.history.prune.LOCK_TIMEOUT", 0.1)
    with group_lock(five.layout, "g"):
        assert "in progress" in prune(five.layout, "g", keep=1, dry_run=False).failed
    assert len(there(five)) == 5


def test_what_a_person_has_put_below_the_root_directory_is_no_revision(five: HostRecords) -> None:
    for number in range(5):
        os.makedirs(f"{five.layout.root_dir}/backup/{number}")
    assert prune(five.layout, "backup", keep=1, dry_run=False).removed == ()
    assert len(os.listdir(f"{five.layout.root_dir}/backup")) == 5
    assert [group.group for group in read_host(five.layout, keep=5).groups] == ["g"]


def test_an_interrupted_install_may_need_every_revision(five: HostRecords) -> None:
    os.makedirs(os.path.dirname(five.layout.journal("g")))
    open(five.layout.journal("g"), "w").close()
    assert "interrupted" in prune(five.layout, "g", keep=1, dry_run=False).failed
    assert len(there(five)) == 5
