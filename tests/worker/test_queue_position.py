"""Commands of one deployment group, one after the other as they came."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.filesystem.boot import boot_id, since_boot
from agent.filesystem.locks import LockTimeoutError
from agent.store.commands import CommandDirectory, CommandRecord, CommandStore, Progress, SavedOutcome
from agent.store.layout import Layout
from agent.worker.queue_position import START_TIMEOUT, wait_in_queue

OUTCOME = SavedOutcome("Succeeded", "{}", 1.0)


class Queue:
    """Commands of a root directory; numbers say in which order they came."""

    def __init__(self, directory: Path) -> None:
        self.layout = Layout(str(directory / "root"))
        self.store = CommandStore(self.layout)
        self.begin = since_boot()

    def add(self, number: int, *, group: str | None = "group", boot: str | None = None) -> CommandDirectory:
        directory = self.store.add(self.record(number, boot=boot))
        if group is not None:
            directory.save_progress(Progress(boot_id(), group_id=group), durably=False)
        return directory

    def record(self, number: int, *, boot: str | None = None) -> CommandRecord:
        order = self.begin + number
        return CommandRecord(f"hc-{number}", "h", "e", "Install", 1.0, order, boot_id() if boot is None else boot)

    def must_wait(self, directory: CommandDirectory) -> bool:
        """Whether a command of the group ``group`` has to wait for another one."""
        try:
            lock = wait_in_queue(
                directory, directory.record(), "group", layout=self.layout, limit=0, on_wait=lambda text: None
            )
        except LockTimeoutError:
            return True
        lock.release()
        return False


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path)


def test_a_command_waits_for_the_one_before_it_and_not_for_the_one_behind(queue: Queue) -> None:
    first, second = queue.add(1), queue.add(2)
    with first.lock(), second.lock():
        assert queue.must_wait(second)
        assert not queue.must_wait(first)


def test_another_group_is_not_waited_for(queue: Queue) -> None:
    first, second = queue.add(1, group="other"), queue.add(2)
    with first.lock():
        assert not queue.must_wait(second)


def test_one_whose_group_is_not_known_yet_is_waited_for(queue: Queue) -> None:
    first, second = queue.add(1, group=""), queue.add(2)
    with first.lock():
        assert queue.must_wait(second)


def test_one_that_has_ended_and_is_only_being_reported_is_not_waited_for(queue: Queue) -> None:
    first, second = queue.add(1), queue.add(2)
    first.save_outcome(OUTCOME)
    with first.lock():
        assert not queue.must_wait(second)


def test_one_whose_worker_is_still_starting_is_not_overtaken(queue: Queue) -> None:
    queue.add(1, group=None)
    assert queue.must_wait(queue.add(2))


def test_one_that_nobody_begins_does_not_hold_up_the_group_for_ever(queue: Queue) -> None:
    queue.begin -= round((START_TIMEOUT + 1) * 1e9)
    queue.add(1, group=None)
    assert not queue.must_wait(queue.add(2))


def test_a_command_of_an_earlier_boot_comes_first(queue: Queue) -> None:
    old, new = queue.add(9, boot="earlier"), queue.add(1)
    with old.lock(), new.lock():
        assert queue.must_wait(new)
        assert not queue.must_wait(old)


def test_a_damaged_record_holds_nobody_up(queue: Queue) -> None:
    first, second = queue.add(1), queue.add(2)
    Path(first.path, "record.json").write_text("{")
    with first.lock():
        assert not queue.must_wait(second)


def test_commands_of_two_earlier_boots_do_not_wait_for_each_other(queue: Queue) -> None:
    one, other = queue.add(1, boot="earlier"), queue.add(2, boot="earliest")
    with one.lock(), other.lock():
        assert [queue.must_wait(one), queue.must_wait(other)].count(True) == 1
