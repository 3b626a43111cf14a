"""What an operator learns of the deployments of a host, whoever made them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from agent.deployment.outcome import Outcome
from agent.errors import DiagnosticCode
from agent.filesystem.boot import boot_id
from agent.history.events import with_reported
from agent.history.model import Deployment, EventRun
from agent.history.read import read_host
from agent.store.bindings import Bindings
from agent.store.commands import CommandStore, Progress, new_record
from agent.store.history import History
from agent.store.locks import group_lock
from agent.store.skips import ask_for_skip
from host_records import EVENTS, HostRecords
from other_user import command_as

NOBODY = 65534


def found(records: HostRecords, *, keep: int = 5) -> dict[str, Deployment]:
    history = read_host(records.layout, keep=keep)
    return {one.deployment: one for group in history.groups for one in group.deployments}


def test_a_deployment_says_what_it_was_and_how_each_event_went(records: HostRecords) -> None:
    records.deployment("d-1")
    one = found(records)["d-1"]
    assert (one.outcome, one.facts["application"], one.facts["group_name"]) == ("succeeded", "Shop", "Web")
    assert one.facts["revision"]["key"] == "d-1.zip"
    assert [(event.name, event.status) for event in one.events] == [(event, "Succeeded") for event in EVENTS]
    assert all(event.seconds is not None for event in one.events)
    assert one.disk.size > 0


def test_a_deployment_whose_last_event_has_no_script_has_succeeded(records: HostRecords) -> None:
    records.deployment("d-1", events=EVENTS[1:-1])
    assert found(records)["d-1"].outcome == "unfinished"
    History(records.layout).ended("g", "d-1", "ValidateService", None, closed_as="Succeeded")
    assert found(records)["d-1"].outcome == "succeeded"


def test_a_person_who_stops_a_deployment_in_the_service_does_not_make_it_a_success(records: HostRecords) -> None:
    records.deployment("d-1", events=EVENTS[:-1])
    History(records.layout).ended("g", "d-1", "ValidateService", None, closed_as="Failed")
    assert found(records)["d-1"].outcome == "unfinished"


def test_an_event_that_only_the_outcomes_know_is_listed_in_its_place() -> None:
    known = [EventRun("DownloadBundle", started=7.4, ended=7.9, status="Succeeded")]
    events = with_reported(known, [EventRun("ApplicationStop", ended=7.3, status="Closed")])
    assert [event.name for event in events] == ["ApplicationStop", "DownloadBundle"]


def test_a_failure_names_its_event_its_script_and_the_last_lines(records: HostRecords) -> None:
    records.deployment("d-1", fails="AfterInstall")
    one = found(records)["d-1"]
    assert one.outcome == "failed"
    assert one.failed_event is not None
    assert (one.failed_event.name, one.failed_event.script) == ("AfterInstall", "scripts/a.sh")
    assert (one.failed_event.code, one.failed_event.log) == (4, "one\nlast\n")


def test_an_ignored_failure_of_application_stop_is_not_the_outcome(records: HostRecords) -> None:
    directory = records.deployment("d-1", events=("ApplicationStop",), fails="ApplicationStop")
    assert found(records)["d-1"].outcome == "failed"
    records.deployment("d-1", events=EVENTS[1:])
    assert os.path.isdir(directory)
    assert found(records)["d-1"].outcome == "succeeded"


def test_what_an_official_agent_has_left_is_there_with_its_scripts(records: HostRecords) -> None:
    records.point(records.layout.last_successful("g"), records.official("d-1"))
    one = found(records)["d-1"]
    assert one.outcome == "unknown"
    assert [(event.name, event.seconds, event.scripts) for event in one.events] == [
        ("BeforeInstall", 2.0, ("scripts/prepare.sh",)),
        ("AfterInstall", 0.0, ("scripts/after.sh",)),
    ]
    assert one.is_last_successful


def test_a_command_that_failed_before_its_deployment_had_a_directory_is_there(records: HostRecords) -> None:
    records.reported("d-2", "ApplicationStop", Outcome(DiagnosticCode.UNKNOWN_ERROR, message="The AppSpec is broken."))
    one = found(records)["d-2"]
    assert (one.outcome, one.directory) == ("failed", None)
    assert one.failed_event is not None
    assert (one.failed_event.name, one.failed_event.message) == ("ApplicationStop", "The AppSpec is broken.")


def test_a_reported_event_is_not_there_twice(records: HostRecords) -> None:
    records.deployment("d-1", fails="AfterInstall")
    records.reported("d-1", "AfterInstall", Outcome(DiagnosticCode.SCRIPT_FAILED, message="It failed."))
    assert [event.name for event in found(records)["d-1"].events] == list(EVENTS[:5])


def test_a_replay_that_was_refused_does_not_make_a_failure_of_a_deployment(records: HostRecords) -> None:
    records.deployment("d-1")
    records.reported("d-1", "BeforeBlockTraffic", Outcome(DiagnosticCode.UNKNOWN_ERROR, message="A replay."))
    assert found(records)["d-1"].outcome == "succeeded"


def test_a_removed_deployment_is_known_by_the_log_of_all_deployments(records: HostRecords) -> None:
    log = Path(records.layout.deployments_log)
    log.parent.mkdir(parents=True)
    log.write_text(
        "# Logfile created on 2026-11-23 05:13:13 +0000 by logger.rb/v1.5.0\n"
        "[2026-11-23 05:13:13.985] [d-OLD]LifecycleEvent - BeforeInstall\n"
        "[2026-11-23 05:13:13.990] [d-OLD]Script - a.sh\n"
    )
    assert found(records)["d-OLD"].directory is None
    assert found(records)["d-OLD"].events[0].scripts == ("a.sh",)


def test_what_the_next_deployment_removes_is_marked(records: HostRecords) -> None:
    for number in range(4):
        directory = records.deployment(f"d-{number}")
        if number == 0:
            records.point(records.layout.last_successful("g"), directory)
    marked = [name for name, one in found(records, keep=3).items() if one.is_removed_next]
    assert sorted(marked) == ["d-1", "d-2"]
    assert not any(one.is_removed_next for one in found(records, keep=5).values())


def test_the_newest_deployment_is_first(records: HostRecords) -> None:
    for name in ("d-C", "d-A", "d-B"):
        records.deployment(name)
    assert list(found(records)) == ["d-B", "d-A", "d-C"]


def test_a_command_that_a_worker_holds_is_in_progress(records: HostRecords) -> None:
    records.deployment("d-1", events=EVENTS[:2])
    fields = dict.fromkeys(("command_identifier", "host_identifier", "execution_id"), "x")
    directory = CommandStore(records.layout).add(new_record(fields | {"command_name": "Install"}, now=1.0))
    progress = Progress(boot_id(), deployment_id="d-1", group_id="g", committed=True)
    directory.save_progress(progress, durably=False)
    lock = directory.lock()
    lock.acquire()
    assert found(records)["d-1"].outcome == "in progress"
    lock.release()
    assert found(records)["d-1"].outcome == "unfinished"


def test_a_local_deployment_is_in_progress_while_its_group_is_locked(records: HostRecords) -> None:
    records.deployment("d-0-local", events=("Install",), planned=("Install",))
    records.deployment("d-1-local", events=("Install",), planned=("Install", "AfterInstall"))
    with group_lock(records.layout, "g"):
        assert found(records)["d-1-local"].outcome == "in progress"
        assert found(records)["d-0-local"].outcome == "succeeded"
    assert found(records)["d-1-local"].outcome == "unfinished"


def test_between_two_events_a_deployment_waits(records: HostRecords) -> None:
    records.deployment("d-1", events=EVENTS[:2])
    Bindings(records.layout).bind("x", "DownloadBundle", deployment_id="d-1", group_id="g")
    assert found(records)["d-1"].outcome == "waiting"


def test_an_event_to_be_skipped_is_named_with_its_group(records: HostRecords) -> None:
    records.deployment("d-1")
    ask_for_skip(records.layout, "g", "ApplicationStop", "root")
    assert [group.skips for group in read_host(records.layout, keep=5).groups] == [("ApplicationStop",)]


def test_an_empty_host_has_no_history(records: HostRecords) -> None:
    assert read_host(records.layout, keep=5) == ((), ())


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"version": 1, "event": 1}\n', b"null\n"])
def test_a_damaged_history_hides_no_deployment(records: HostRecords, content: bytes) -> None:
    directory = records.deployment("d-1")
    Path(records.layout.history(directory)).write_bytes(content)
    assert found(records)["d-1"].outcome == "unknown"


@pytest.mark.needs("root", "users")
def test_without_root_a_person_sees_what_is_open_and_what_is_not_seen_is_named() -> None:
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        records = HostRecords(Path(top) / "root")
        records.deployment("d-1")
        records.reported("d-2", "Install", Outcome(DiagnosticCode.SCRIPT_FAILED))
        code = (
            "from agent.history.read import read_host\n"
            "from agent.store.layout import Layout\n"
            f"found = read_host(Layout({records.layout.root_dir!r}), keep=5)\n"
            "print([one.deployment for group in found.groups for one in group.deployments], *found.unseen)\n"
        )
        done = subprocess.run(command_as(NOBODY, NOBODY, code), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("['d-1'] ")
    assert "agent-state" in done.stdout
    assert "outcomes" in done.stdout
