"""Not a line is lost or doubled, whatever is done to a log meanwhile."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from agent.logview.tail import LONGEST_LINE, Tail


class Log:
    """A log that numbers its lines, and the ways to rotate it; ``read`` is what a tail of it has given."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "agent.log"
        self.tail = Tail(str(self.path))
        self.read: list[bytes] = []
        self._numbers = count()
        self._aside = count(1)
        self.written = 0

    def write(self, lines: int = 3, *, path: Path | None = None) -> None:
        with open(path or self.path, "ab") as file:
            for _ in range(lines):
                file.write(b"line %d of the log\n" % next(self._numbers))
        self.written += lines

    def take(self) -> None:
        while lines := self.tail.take(2):
            self.read += lines

    def rename_as_ruby(self) -> None:
        for number in range(8, -1, -1):
            if os.path.exists(f"{self.path}.{number}"):
                os.rename(f"{self.path}.{number}", f"{self.path}.{number + 1}")
        os.rename(self.path, f"{self.path}.0")

    def rename_by_date(self) -> None:
        os.rename(self.path, self.path.with_name(f"agent.20261123.{next(self._aside)}.log"))

    def copy_and_cut(self) -> None:
        self.copy()
        self.cut()

    def copy(self) -> None:
        for number in range(40, 0, -1):
            if os.path.exists(f"{self.path}.{number}"):
                os.rename(f"{self.path}.{number}", f"{self.path}.{number + 1}")
        shutil.copyfile(self.path, f"{self.path}.1")

    def cut(self) -> None:
        os.truncate(self.path, 0)

    def check(self) -> None:
        self.take()
        assert self.read == [b"line %d of the log" % number for number in range(self.written)]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


ROTATIONS = [Log.rename_as_ruby, Log.rename_by_date, Log.copy_and_cut]


@pytest.mark.parametrize("rotate", ROTATIONS)
@pytest.mark.parametrize("times", [1, 3])
def test_rotations_between_two_looks_cost_nothing(log: Log, rotate: Callable[[Log], None], times: int) -> None:
    log.write()
    log.take()
    for _ in range(times):
        log.write()
        rotate(log)
    log.write()
    log.check()
    log.write()
    log.check()


@pytest.mark.parametrize("rotate", ROTATIONS)
def test_the_older_files_come_first_and_a_rotation_right_after_them_costs_nothing(
    log: Log, rotate: Callable[[Log], None]
) -> None:
    for _ in range(3):
        log.write()
        rotate(log)
    log.write()
    log.take()
    rotate(log)
    log.write(9)
    log.check()


def test_a_file_that_has_grown_past_its_old_size_after_it_was_cut_is_read_from_its_start(log: Log) -> None:
    log.write(4)
    log.take()
    log.copy_and_cut()
    log.write(50)
    log.check()


def test_what_was_read_before_the_copy_was_made_is_not_read_again(log: Log) -> None:
    log.write(4)
    log.take()
    log.copy_and_cut()
    log.write()
    log.take()
    log.copy_and_cut()
    log.write()
    log.check()


def test_a_copy_that_is_being_made_is_not_read_beside_the_file_itself(log: Log) -> None:
    log.write()
    log.take()
    for _ in range(3):
        log.copy_and_cut()
        log.write()
        log.copy()
        log.take()
        log.cut()
        log.write()
    log.check()


def test_copies_of_a_file_of_which_nothing_was_read_yet_are_read(log: Log) -> None:
    log.path.touch()
    log.take()
    for _ in range(2):
        for _ in range(3):
            log.write()
            log.copy_and_cut()
        log.take()  # now the file is empty
    log.write()
    log.check()


def test_a_flood_during_each_step_of_a_rotation_costs_nothing(log: Log) -> None:
    steps = [log.write, log.copy, log.cut]
    for number in range(60):
        steps[number % 3]()
        if number % 3 != 1:
            log.write()
        if number % 7 == 3:
            log.read += log.tail.take(2)
    log.check()


def test_a_line_that_a_process_writes_late_into_the_renamed_file_is_read(log: Log) -> None:
    log.write()
    log.take()
    log.rename_as_ruby()
    log.path.touch()
    log.take()
    log.write(1, path=Path(f"{log.path}.0"))
    log.check()


def test_a_deleted_log_goes_on_where_it_is_made_again(log: Log) -> None:
    log.write()
    log.take()
    log.path.unlink()
    log.take()
    log.write()
    log.check()


def test_a_log_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    log = Log(tmp_path / "later")
    log.take()
    log.path.parent.mkdir()
    log.take()
    log.write()
    log.check()


def test_a_line_without_an_end_is_waited_for_and_the_history_has_it(log: Log) -> None:
    log.path.write_bytes(b"begun")
    assert log.tail.take(9) == []
    with open(log.path, "ab") as file:
        file.write(b" and ended\nlast")
    assert log.tail.take(9) == [b"begun and ended"]
    assert list(Tail(str(log.path)).history()) == [b"begun and ended", b"last"]


def test_packed_files_are_read_and_those_that_are_too_old_are_not(log: Log) -> None:
    for number, name in enumerate(("agent.log.3.gz", "agent.log.2.gz", "agent.log.1")):
        write = gzip.open if name.endswith("gz") else open
        with write(log.path.with_name(name), "wb") as file:
            file.write(b"of %d\n" % number)
        os.utime(log.path.with_name(name), (number, number))
    log.path.write_bytes(b"new\n")
    assert list(Tail(str(log.path)).history()) == [b"of 0", b"of 1", b"of 2", b"new"]
    assert list(Tail(str(log.path), since=0.5).history()) == [b"of 1", b"of 2", b"new"]


def test_other_files_beside_the_log_are_not_part_of_it(log: Log) -> None:
    for name in (
        "agent.log.bak",
        "agent.log.1x",
        "xagent.log.1",
        "agent.2026.log",
        "agent.log.gz",
        "agent.log.1.gz.tmp",
    ):
        log.path.with_name(name).write_bytes(b"another\n")
    log.write()
    log.check()


def test_an_endless_line_does_not_fill_the_memory(log: Log) -> None:
    with open(log.path, "wb") as file:
        for _ in range(5):
            file.write(b"x" * LONGEST_LINE)
    lines = list(log.tail.history())
    assert sum(map(len, lines)) == 5 * LONGEST_LINE
    assert max(map(len, lines)) < 2 * LONGEST_LINE
