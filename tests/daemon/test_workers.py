"""Keeping somebody at work on every command."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.daemon.workers import AT_MOST, LONGEST_START, Workers
from agent.store.commands import CommandDirectory, CommandStore, SavedOutcome, new_record
from agent.store.layout import Layout
from agent.worker.handoff import EXIT_UNREPORTED


class Scene:
    """A store, the workers, a clock that is moved by hand, and programs that stand for workers."""

    def __init__(self, directory: Path) -> None:
        self.store = CommandStore(Layout(str(directory / "root")))
        self.selector = selectors.DefaultSelector()
        self.now = 1000.0
        self.workers = Workers(self.store, self.selector, clock=lambda: self.now)
        self.program = "true"
        self.report = "echo started $$; ({program}); echo ended $?"
        self.started: list[str] = []
        self.children: list[subprocess.Popen[bytes]] = []

    def add(self, identifier: str = "hc-1") -> CommandDirectory:
        names = ("command_identifier", "host_identifier", "execution_id", "command_name")
        return self.store.add(new_record(dict(zip(names, (identifier, "h", "e", "Install"), strict=True)), now=1.0))

    def start(self, directory: CommandDirectory) -> int:
        self.started.append(directory.record().command_identifier)
        reader, writer = os.pipe()
        script = self.report.format(program=self.program)
        self.children.append(subprocess.Popen(["/bin/sh", "-c", script], stdout=writer))
        os.close(writer)
        return reader

    def until_idle(self) -> None:
        while len(self.workers):
            for key, _ in self.selector.select(10):
                key.data.heard(key.fd)
        for child in self.children:
            child.wait()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.selector.close()


def test_a_command_is_dropped_when_its_worker_has_closed_it(scene: Scene) -> None:
    directory = scene.add()
    scene.program = f"rm -r {directory.path}"
    scene.workers.begin(directory, scene.start)
    assert len(scene.workers) == 1
    scene.until_idle()
    assert scene.workers.next_due() is None


def test_a_worker_that_crashed_is_followed_by_one_that_judges_at_once(scene: Scene) -> None:
    directory = scene.add()
    scene.program = "kill -9 $$"
    scene.workers.begin(directory, scene.start)
    scene.until_idle()
    assert scene.workers.next_due() == scene.now
    scene.workers.begin_due(scene.start)
    assert scene.started == ["hc-1", "hc-1"]
    scene.until_idle()


def test_workers_that_keep_crashing_do_not_keep_the_host_busy(scene: Scene) -> None:
    directory = scene.add()
    scene.program = "exit 1"
    scene.workers.begin(directory, scene.start)
    pauses = []
    for _ in range(4):
        scene.until_idle()
        due = scene.workers.next_due()
        assert due is not None
        pauses.append(due - scene.now)
        scene.now = due
        scene.workers.begin_due(scene.start)
    scene.until_idle()
    assert pauses[0] == 0
    assert min(pauses[1:]) > 5
    assert pauses[3] > pauses[1]


def test_an_outcome_that_could_not_be_sent_is_tried_again_later(scene: Scene) -> None:
    directory = scene.add()
    directory.save_outcome(SavedOutcome("Failed", "{}", 1.0))
    scene.program = f"exit {EXIT_UNREPORTED}"
    scene.workers.begin(directory, scene.start)
    scene.until_idle()
    due = scene.workers.next_due()
    assert due is not None
    assert due > scene.now
    scene.workers.begin_due(scene.start)
    assert scene.started == ["hc-1"]
    scene.now = due
    scene.workers.begin_due(scene.start)
    assert scene.started == ["hc-1", "hc-1"]
    scene.until_idle()


def test_what_an_earlier_supervisor_left_is_found(scene: Scene) -> None:
    scene.add("hc-1")
    scene.add("hc-2")
    scene.workers.look_around()
    scene.workers.look_around()
    scene.program = "exit 0"
    scene.workers.begin_due(scene.start)
    assert sorted(scene.started) == ["hc-1", "hc-2"]
    scene.until_idle()


def test_a_worker_of_an_earlier_supervisor_is_waited_for_and_not_doubled(scene: Scene) -> None:
    directory = scene.add()
    code = (
        "import sys\nfrom agent.store.commands import CommandDirectory\n"
        "with CommandDirectory(sys.argv[1]).lock():\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, directory.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    scene.workers.look_around()
    scene.workers.begin_due(scene.start)
    assert (len(scene.workers), scene.started) == (1, [])
    other.communicate()
    scene.until_idle()
    scene.workers.begin_due(scene.start)
    assert scene.started == ["hc-1"]
    scene.until_idle()


def test_no_more_than_sixteen_are_at_work(scene: Scene) -> None:
    for number in range(AT_MOST + 3):
        scene.add(f"hc-{number}")
    scene.workers.look_around()
    scene.program = "sleep 0.2"
    scene.workers.begin_due(scene.start)
    assert len(scene.workers) == AT_MOST
    scene.until_idle()


def test_a_host_that_can_start_nothing_tries_again_later(scene: Scene) -> None:
    def fail(directory: CommandDirectory) -> int:
        raise OSError(11, "Resource temporarily unavailable")

    scene.workers.begin(scene.add(), fail)
    due = scene.workers.next_due()
    assert due is not None
    assert due > scene.now


@pytest.mark.parametrize(("report", "pause"), [("", 0), ("echo not-forked 11", 10)])
def test_a_command_whose_worker_was_not_forked_is_tried_again(scene: Scene, report: str, pause: float) -> None:
    scene.report = report
    scene.workers.begin(scene.add(), scene.start)
    scene.until_idle()
    due = scene.workers.next_due()
    assert due is not None
    assert due - scene.now >= pause
    assert (due == scene.now) is (pause == 0)


def test_a_worker_that_does_not_begin_is_noticed(scene: Scene) -> None:
    held, holder = os.pipe()
    scene.workers.begin(scene.add(), lambda directory: held)
    scene.now += LONGEST_START - 1
    assert not scene.workers.are_stuck()
    scene.now += 2
    assert scene.workers.are_stuck()
    os.write(holder, b"started 1\n")
    scene.workers.heard(held)
    assert not scene.workers.are_stuck()
    os.close(holder)
    scene.until_idle()


def test_a_worker_that_stays_stuck_does_not_end_every_later_fork_server(scene: Scene) -> None:
    held, holder = os.pipe()
    scene.workers.begin(scene.add(), lambda directory: held)
    scene.now += LONGEST_START + 1
    assert scene.workers.are_stuck()
    scene.now += LONGEST_START - 1
    assert not scene.workers.are_stuck()
    scene.now += 2
    assert scene.workers.are_stuck()
    os.close(holder)
    scene.until_idle()


def test_a_worker_that_ended_before_it_reported_its_pid_is_tried_again(scene: Scene) -> None:
    scene.report = "echo ended 1"
    scene.workers.begin(scene.add(), scene.start)
    scene.until_idle()
    assert scene.workers.next_due() == scene.now


def test_a_file_in_the_place_of_the_records_stops_nothing(scene: Scene) -> None:
    os.makedirs(os.path.dirname(scene.store.directory))
    Path(scene.store.directory).touch()
    scene.workers.look_around()
    assert scene.workers.next_due() is None
