import json
import os
import time

import psutil
import pytest

from agent.daemon.status import (
    InProgress,
    StatusFileRead,
    commands_in_progress,
    last_outcome,
    read_status,
    waiting_outcomes,
)
from agent.filesystem.boot import boot_id
from agent.hooks import processes
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
    assert (waiting_outcomes(layout), last_outcome(layout)) == ([], None)
    assert read_status([f"{layout.state}/status.json"], 1) == StatusFileRead({})


def test_an_event_is_in_progress_as_long_as_its_worker_lives(layout, store):
    directory = command(store)
    directory.save_progress(Progress("boot", deployment_id="d-1", group_id="g-1"), durably=False)
    assert commands_in_progress(layout) == []
    with directory.lock():
        row = InProgress("d-1", "g-1", "AfterInstall", "hc-1", 1000.0, worker=os.getpid())
        assert commands_in_progress(layout) == [row]
    assert commands_in_progress(layout) == []


def test_a_worker_that_only_reports_does_not_keep_the_agent_from_stopping(layout, store):
    directory = command(store)
    directory.save_outcome(outcome())
    with directory.lock():
        assert commands_in_progress(layout) == []
    assert waiting_outcomes(layout) == [2000.0]


def test_a_record_that_cannot_be_read_still_counts_while_it_is_worked_on(layout, store):
    directory = command(store)
    with open(os.path.join(directory.path, "record.json"), "w") as file:
        file.write("{")
    with directory.lock():
        assert commands_in_progress(layout) == [InProgress(command=directory.key, worker=os.getpid())]


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


def test_the_script_that_runs_now_is_shown_with_its_limit_and_one_that_has_ended_is_not(layout, store):
    directory = command(store)
    mine = processes.look_up(os.getpid())
    progress = Progress(boot_id(), script="scripts/x.sh", script_pid=mine.pid, script_start_time=mine.start_time)
    progress = progress._replace(script_timeout=300.0, group_name="Shop")
    with directory.lock():
        directory.save_progress(progress, durably=False)
        (row,) = commands_in_progress(layout)
        assert (row.script, row.script_timeout) == ("scripts/x.sh", 300.0)
        assert abs(row.script_since - psutil.Process().create_time()) < 5
        assert (row.group_name, row.script_pid) == ("Shop", mine.pid)
        directory.save_progress(progress._replace(script_start_time=1), durably=False)
        (row,) = commands_in_progress(layout)
        assert (row.script, row.script_pid) == ("", 0)


FIELDS = {
    "pid": 7,
    "version": "0.1.0",
    "started": 10,
    "host_identifier": "arn:x",
    "written": 21.0,
    "last_poll": 20.5,
    "last_success": 19.5,
    "problems": [{"since": 20, "text": "No such host.", "key": "poll"}],
}


def test_what_the_agent_tells_of_itself_is_read_whole(tmp_path):
    path = write_status(tmp_path, "status.json", json.dumps(FIELDS))
    found = read_status([path], 7)
    assert (found.path, found.unusable) == (path, ())
    assert {name: found.fields[name] for name in FIELDS if name != "pid"} == {
        name: value for name, value in FIELDS.items() if name != "pid"
    }
    assert read_status([path], 8) == StatusFileRead({}, unusable=(f"{path} is of PID 7",))


def test_the_newest_of_the_files_of_this_agent_counts(tmp_path):
    old = write_status(tmp_path, "old.json", json.dumps(FIELDS | {"version": "old"}))
    foreign = write_status(tmp_path, "foreign.json", json.dumps(FIELDS | {"pid": 9, "written": 99}))
    new = write_status(tmp_path, "new.json", json.dumps(FIELDS | {"written": 30}))
    found = read_status([old, foreign, new, str(tmp_path / "none")], 7)
    assert (found.path, found.fields["version"]) == (new, "0.1.0")
    assert found.unusable == (f"{foreign} is of PID 9",)


def test_the_problem_that_an_earlier_version_has_written_is_read(tmp_path):
    path = write_status(tmp_path, "s", json.dumps({"pid": 7, "problem": {"since": 20, "text": "No such host."}}))
    assert read_status([path], 7).fields["problems"] == [{"since": 20.0, "text": "No such host.", "key": ""}]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100000])
def test_a_broken_status_file_is_no_failure_and_is_named(tmp_path, text):
    path = write_status(tmp_path, "s", text)
    assert read_status([path], 7) == StatusFileRead({}, unusable=(f"{path} cannot be understood",))


def test_fields_that_are_not_what_they_should_be_count_as_unknown(tmp_path):
    odd = {"pid": 7, "problem": 3, "problems": [4], "started": "x", "last_poll": True, "credentials": [], "in_hand": {}}
    fields = read_status([write_status(tmp_path, "s", json.dumps(odd))], 7).fields
    assert [fields[name] for name in odd if name not in ("pid", "problem")] == [[], None, None, None, []]


def write_status(directory, name, text):
    path = directory / name
    path.write_text(text)
    return str(path)
