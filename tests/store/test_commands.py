"""The records of commands: what a crash must not lose, and what a damaged disk must not stop."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.store.commands import (
    FINISHED_KEPT,
    CommandDirectory,
    CommandRecord,
    CommandStore,
    Progress,
    RecordError,
    SavedOutcome,
    key_of,
    new_record,
)
from agent.store.layout import Layout

OUTCOME = SavedOutcome("Succeeded", '{"error_code":0}', 12.5, deployment_id="d-1", group_id="g")


@pytest.fixture
def store(tmp_path: Path) -> CommandStore:
    return CommandStore(Layout(str(tmp_path / "root")))


def add(store: CommandStore, identifier: str = "hc-1") -> CommandDirectory:
    return store.add(record_of(identifier))


def record_of(identifier: str) -> CommandRecord:
    fields = {
        "command_identifier": identifier,
        "host_identifier": "h",
        "execution_id": "a/b",
        "command_name": "Install",
    }
    return new_record(fields, now=1.5)


def test_what_was_written_down_is_read_again(store: CommandStore) -> None:
    directory = add(store)
    progress = Progress("boot", deployment_id="d-1", group_id="g", committed=True, script="s.sh", script_pid=7)
    directory.save_progress(progress, durably=True)
    directory.save_outcome(OUTCOME)
    (found,) = list(CommandStore(Layout(os.path.dirname(os.path.dirname(store.directory)))))
    assert (found.record().command_identifier, found.record().command_name) == ("hc-1", "Install")
    assert found.progress() == progress
    assert found.outcome() == OUTCOME


def test_the_script_of_an_earlier_versions_worker_can_still_be_ended(store: CommandStore) -> None:
    directory = add(store)
    names = ("keeper_pid", "keeper_start_time")  # as earlier versions wrote it
    fields = {"version": 1, "boot_id": "b", "script": "a.sh", **dict.fromkeys(names, 42)}
    Path(directory.path, "progress.json").write_text(json.dumps(fields))
    assert directory.progress() == Progress("b", script="a.sh", supervisor_pid=42, supervisor_start_time=42)


def test_nobody_else_may_read_a_record(store: CommandStore) -> None:
    directory = add(store)
    directory.save_outcome(OUTCOME)
    modes = [
        os.stat(path).st_mode & 0o777 for path in (store.directory, directory.path, f"{directory.path}/record.json")
    ]
    assert modes == [0o700, 0o700, 0o600]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b'{"version": 2}', b"\xff", b"[" * 100000])
def test_a_damaged_record_is_an_error_and_no_crash(store: CommandStore, damage: bytes) -> None:
    directory = add(store)
    Path(directory.path, "record.json").write_bytes(damage)
    with pytest.raises(RecordError, match=r"record\.json"):
        directory.record()


def test_a_record_with_wrong_types_is_not_believed(store: CommandStore) -> None:
    directory = add(store)
    Path(directory.path, "progress.json").write_text('{"version": 1, "boot_id": "b", "committed": "no"}')
    with pytest.raises(RecordError, match="committed"):
        directory.progress()


def test_a_directory_that_is_being_made_is_not_seen(store: CommandStore) -> None:
    add(store)
    os.mkdir(os.path.join(store.directory, ".half.new~"))
    assert [directory.record().command_identifier for directory in store] == ["hc-1"]


def test_what_a_crash_left_half_made_does_not_stop_the_same_command(store: CommandStore) -> None:
    os.makedirs(store.directory)
    os.mkdir(os.path.join(store.directory, f".{key_of('hc-1')}.new~"))
    assert add(store).record().command_identifier == "hc-1"


@pytest.mark.parametrize("identifier", ["../../etc", "a/b", "", ".", "é" * 300, "x" * 300, "a\nb", "\ud800"])
def test_no_identifier_leads_out_of_the_directory(store: CommandStore, identifier: str) -> None:
    key = key_of(identifier)
    assert "/" not in key
    assert not key.startswith(".")
    assert len(key) < 100


def test_two_identifiers_that_look_alike_have_directories_of_their_own() -> None:
    assert len({key_of(text) for text in ("a/b", "a_b", "a:b", "x" * 200, "x" * 201)}) == 5


def test_a_finished_command_is_known_and_its_files_are_gone(store: CommandStore) -> None:
    directory = add(store)
    store.finish(directory, OUTCOME)
    assert list(store) == []
    assert store.finished("hc-1") == OUTCOME
    assert store.finished("hc-2") is None


def test_a_damaged_memory_of_a_finished_command_counts_as_none(store: CommandStore) -> None:
    directory = add(store)
    store.finish(directory, OUTCOME)
    Path(store.directory, "..", "finished", f"{directory.key}.json").write_bytes(b"\0")
    assert store.finished("hc-1") is None


def test_finished_commands_do_not_fill_the_disk(store: CommandStore) -> None:
    finished = Path(store.directory, "..", "finished")
    finished.mkdir(parents=True)
    for number in range(2 * FINISHED_KEPT):
        path = finished / f"old-{number}.json"
        path.touch()
        os.utime(path, (number, number))
    store.finish(add(store), OUTCOME)
    left = sorted(path.name for path in finished.iterdir())
    assert len(left) == FINISHED_KEPT
    assert f"{key_of('hc-1')}.json" in left
    assert "old-0.json" not in left


def test_a_clock_that_was_set_back_does_not_make_the_newest_the_oldest(store: CommandStore) -> None:
    finished = Path(store.directory, "..", "finished")
    finished.mkdir(parents=True)
    for number in range(2 * FINISHED_KEPT):
        path = finished / f"old-{number}.json"
        path.touch()
        os.utime(path, (time.time() + 3600,) * 2)
    (finished / "a-directory").mkdir()
    store.finish(add(store), OUTCOME)
    assert store.finished("hc-1") == OUTCOME


def test_what_is_set_aside_twice_is_kept_twice(store: CommandStore) -> None:
    targets = {store.set_aside(add(store)), store.set_aside(add(store))}
    assert len(targets) == 2
    assert all(os.path.exists(os.path.join(target, "record.json")) for target in targets)


def test_a_command_that_somebody_works_on_says_who(store: CommandStore) -> None:
    directory = add(store)
    assert directory.holder() is None
    with directory.lock():
        assert directory.holder() == os.getpid()
    assert directory.holder() is None


def test_a_kill_while_a_finished_command_is_removed_leaves_nothing_to_begin(store: CommandStore) -> None:
    directory = add(store)
    directory.save_outcome(OUTCOME)
    gone = os.path.join(store.directory, f".{directory.key}.gone~")
    os.rename(directory.path, gone)  # as far as a kill may let it come
    os.unlink(os.path.join(gone, "outcome.json"))
    assert list(store) == []
    store.sweep()
    assert os.listdir(store.directory) == []


def test_a_finished_command_comes_back_with_its_outcome_or_not_at_all(store: CommandStore) -> None:
    directory = add(store)
    store.finish(directory, OUTCOME)
    fields = ("command_identifier", "host_identifier", "execution_id", "command_name")
    record = new_record(dict(zip(fields, ("hc-1", "h", "a/b", "Install"), strict=True)), now=1.5)
    assert store.add(record, OUTCOME).outcome() == OUTCOME


def test_what_a_kill_left_half_removed_is_not_in_the_way_of_the_next_end(store: CommandStore) -> None:
    directory = add(store)
    left = Path(store.directory, f".{directory.key}.gone~")
    left.mkdir()
    (left / "record.json").touch()
    store.finish(directory, OUTCOME)
    assert os.listdir(store.directory) == []


def test_an_outcome_that_is_to_be_reported_again_is_not_taken_for_reported(store: CommandStore) -> None:
    directory = add(store)
    record = directory.record()
    store.finish(directory, OUTCOME)
    store.add(record, OUTCOME)
    assert store.finished("hc-1") is None


@pytest.fixture
def keeping(tmp_path: Path) -> CommandStore:
    """A store that has a place for what its disk does not take."""
    return CommandStore(Layout(str(tmp_path / "root"), kept=str(tmp_path / "run" / "outcomes" / "root")))


def test_an_outcome_that_the_disk_did_not_take_is_believed_and_kept_from_others(keeping: CommandStore) -> None:
    directory = add(keeping)
    directory.keep(OUTCOME, reported=False)
    (found,) = list(keeping)
    assert found.outcome() == OUTCOME
    assert not found.is_saved()
    assert keeping.finished("hc-1") is None  # nobody has heard of it
    modes = [os.stat(path).st_mode & 0o777 for path in (found.kept_path, os.path.dirname(found.kept_path))]
    assert modes == [0o600, 0o700]


def test_what_was_kept_in_an_earlier_boot_or_is_damaged_counts_as_nothing(keeping: CommandStore) -> None:
    directory = add(keeping)
    directory.keep(OUTCOME, reported=True)
    path = Path(directory.kept_path)
    path.write_text(path.read_text().replace('"boot_id": "', '"boot_id": "another-'))
    assert directory.kept() is None
    path.write_text("{")
    assert directory.outcome() is None


def test_a_reported_command_is_remembered_where_the_disk_does_not_take_that(keeping: CommandStore) -> None:
    directory = add(keeping)
    Path(keeping.directory, "..", "finished").touch()
    keeping.finish(directory, OUTCOME)
    assert list(keeping) == []
    assert keeping.finished("hc-1") == OUTCOME
    keeping.add(record_of("hc-1"), OUTCOME)  # it is to be reported once more
    kept = directory.kept()
    assert kept is None or not kept.reported


def test_nothing_is_kept_any_more_once_the_disk_has_it(keeping: CommandStore) -> None:
    directory = add(keeping)
    directory.keep(OUTCOME, reported=True)
    keeping.finish(directory, OUTCOME)
    assert not os.path.exists(directory.kept_path)
    assert keeping.finished("hc-1") == OUTCOME


def test_what_cannot_be_read_now_is_not_taken_for_nothing(store: CommandStore) -> None:
    directory = add(store, "hc-1")
    store.finish(add(store, "hc-2"), OUTCOME)
    with no_more_files():
        for question in (directory.record, directory.progress, directory.outcome, lambda: store.finished("hc-2")):
            with pytest.raises(OSError, match="Too many open files"):
                question()
    os.rename(store.directory, f"{store.directory}.away")
    os.symlink("commands", store.directory)  # leads to itself
    with pytest.raises(OSError, match="symbolic links"):
        directory.exists()


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open nothing else."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
