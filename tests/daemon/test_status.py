import json
import os
import time

import pytest

from agent.daemon.status import (
    InProgress,
    SupervisorStatus,
    commands_in_progress,
    last_outcome,
    outcomes_to_report,
    read_supervisor,
)
from agent.store.commands import CommandStore, Progress, SavedOutcome, new_record
from agent.store.layout import Layout
from agent.store.tracking import write_tracking


@pytest.fixture
def layout(tmp_path):
    return Layout(str(tmp_path / "root"))


@pytest.fixture
def store(layout):
    return CommandStore(layout)


def command(store, identifier="hc-1", name="AfterInstall"):
    fields = {"command_identifier": identifier, "host_identifier": "h", "execution_id": "e", "command_name": name}
    return store.add(new_record(fields, now=1000.0))


def outcome(deployment="d-1", ended=2000.0, status="Succeeded"):
    payload = json.dumps({"error_code": 0, "message": "Succeeded: "})
    return SavedOutcome(status, payload, ended, deployment_id=deployment, group_id="g-1")


def test_a_fresh_host_has_nothing_to_tell(layout):
    assert commands_in_progress(layout) == []
    assert (outcomes_to_report(layout), last_outcome(layout)) == (0, None)
    assert read_supervisor(layout, 1) == SupervisorStatus()


def test_an_event_is_in_progress_as_long_as_its_worker_lives(layout, store):
    directory = command(store)
    directory.save_progress(Progress("boot", deployment_id="d-1", group_id="g-1"), durably=False)
    assert commands_in_progress(layout) == []
    with directory.lock():
        assert commands_in_progress(layout) == [InProgress("d-1", "g-1", "AfterInstall", "hc-1", 1000.0)]
    assert commands_in_progress(layout) == []


def test_a_worker_that_only_reports_does_not_keep_the_agent_from_stopping(layout, store):
    directory = command(store)
    directory.save_outcome(outcome())
    with directory.lock():
        assert commands_in_progress(layout) == []
    assert outcomes_to_report(layout) == 1


def test_a_record_that_cannot_be_read_still_counts_while_it_is_worked_on(layout, store):
    directory = command(store)
    with open(os.path.join(directory.path, "record.json"), "w") as file:
        file.write("{")
    with directory.lock():
        assert commands_in_progress(layout) == [InProgress(command=directory.key)]


def test_a_command_of_an_official_agent_is_in_progress_for_a_day(layout, store):
    write_tracking(layout, "d-OLD", "hc-official")
    write_tracking(layout, "d-OURS", "hc-1")
    command(store)
    (found,) = commands_in_progress(layout)
    assert (found.deployment, found.command) == ("d-OLD", "hc-official")
    yesterday = time.time() - 25 * 3600
    os.utime(layout.tracking("d-OLD"), (yesterday, yesterday))
    assert commands_in_progress(layout) == []


def test_strange_things_among_the_tracking_files_stop_nothing(layout):
    write_tracking(layout, "d-1", "")
    directory = os.path.dirname(layout.tracking("d-1"))
    os.mkdir(f"{directory}/directory")
    os.mkfifo(f"{directory}/pipe")
    os.symlink("/nowhere", f"{directory}/link")
    with open(f"{directory}/bytes", "wb") as file:
        file.write(b"\xff\xfe")
    assert [found.deployment for found in commands_in_progress(layout)] == ["bytes"]


def test_the_last_outcome_is_the_newest_reported_or_not(layout, store):
    store.finish(command(store, "hc-1"), outcome("d-1", 2000.0))
    with open(os.path.join(layout.state, "finished", ".half-written.new~"), "w") as file:
        file.write("{")
    assert last_outcome(layout).deployment == "d-1"
    command(store, "hc-2").save_outcome(outcome("d-2", 3000.0, "Failed"))
    found = last_outcome(layout)
    assert (found.status, found.deployment, found.group, found.ended) == ("Failed", "d-2", "g-1", 3000.0)
    assert found.message == "Succeeded: "


def test_what_the_agent_tells_of_itself_is_read_whole(layout):
    os.makedirs(layout.state)
    fields = {
        "pid": 7,
        "version": "0.1.0",
        "started": 10,
        "host_identifier": "arn:x",
        "last_poll": 20.5,
        "last_success": 19.5,
        "problem": {"since": 20, "text": "No such host."},
    }
    write_status(layout, json.dumps(fields))
    assert read_supervisor(layout, 7) == SupervisorStatus("0.1.0", 10.0, "arn:x", 20.5, 19.5, "No such host.", 20.0)
    assert read_supervisor(layout, 8) == SupervisorStatus()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"pid": 7, "problem": 3, "started": "x", "last_poll": true}', "[" * 100000]
)
def test_a_broken_status_file_is_no_failure(layout, text):
    os.makedirs(layout.state)
    write_status(layout, text)
    assert read_supervisor(layout, 7) == SupervisorStatus()


def write_status(layout, text):
    with open(os.path.join(layout.state, "status.json"), "w") as file:
        file.write(text)
