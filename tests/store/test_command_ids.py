"""A search for a deployment finds every line about its commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.filesystem.boot import boot_id
from agent.store.bindings import Bindings
from agent.store.command_ids import ids_of, ids_of_record, short_id
from agent.store.commands import CommandRecord, CommandStore, Progress, SavedOutcome, new_record
from agent.store.layout import Layout

COMMAND = "a+b/" * 24


@pytest.fixture
def store(tmp_path: Path) -> CommandStore:
    return CommandStore(Layout(str(tmp_path)))


def record(execution: str = "eu-central-1/123456789012/d-ABCDEFGHI/7f") -> CommandRecord:
    fields = {"command_identifier": COMMAND, "host_identifier": "h", "execution_id": execution}
    return new_record({**fields, "command_name": "Install"}, now=1.0)


def test_the_short_id_is_in_the_name_of_the_commands_directory(store: CommandStore) -> None:
    directory = store.add(record())
    assert short_id(COMMAND) == directory.short
    assert directory.path.endswith(f"-{directory.short}")


def test_the_deployment_is_known_from_the_execution_id_before_the_specification_is(store: CommandStore) -> None:
    ids = {"lifecycle_event": "Install", "command": short_id(COMMAND), "deployment": "d-ABCDEFGHI"}
    assert ids_of_record(record(), store.layout) == ids
    Bindings(store.layout).bind("x", "DownloadBundle", deployment_id="d-ABCDEFGHI", group_id="g-1")
    assert ids_of_record(record(), store.layout) == {**ids, "group": "g-1"}


@pytest.mark.parametrize("execution", ["", "opaque", "a/d-abc/b", "a/xd-ABC/b"])
def test_an_execution_id_that_names_no_deployment_gives_none(store: CommandStore, execution: str) -> None:
    assert set(ids_of_record(record(execution), store.layout)) == {"lifecycle_event", "command"}


def test_what_the_worker_has_learnt_counts_more_than_the_execution_id(store: CommandStore) -> None:
    directory = store.add(record())
    directory.save_progress(Progress(boot_id(), deployment_id="d-SIGNED", group_id="g-2"), durably=False)
    found = ids_of(directory, store.layout)
    assert (found["deployment"], found["group"], found["lifecycle_event"]) == ("d-SIGNED", "g-2", "Install")


def test_an_outcome_alone_names_its_deployment(store: CommandStore) -> None:
    directory = store.add(record(""), SavedOutcome("Failed", "{}", 1.0, deployment_id="d-1", group_id="g-1"))
    assert ids_of(directory, store.layout)["deployment"] == "d-1"


def test_a_command_whose_record_is_broken_still_has_its_short_id(store: CommandStore) -> None:
    directory = store.add(record())
    Path(directory.path, "record.json").write_text("{")
    Path(directory.path, "progress.json").write_text("{")
    assert ids_of(directory, store.layout) == {"command": directory.short}
