"""Reading /proc."""

from __future__ import annotations

import os
import resource
import signal
import subprocess

import pytest

from agent.hooks import processes


@pytest.fixture
def sleeper(tmp_path):
    """A process whose name looks like the end of a name in /proc/PID/stat."""
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([program, "60"], stdout=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_process_is_read_right_whatever_its_name(sleeper):
    found = processes.look_up(sleeper.pid)
    assert found.pid == sleeper.pid
    assert found.parent == os.getpid()
    assert found.start_time >= processes.look_up(os.getpid()).start_time


def test_there_is_no_process_where_there_is_none():
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    assert processes.look_up(process.pid) is None


def test_descendants_include_grandchildren_and_leave_out_zombies_and_strangers(sleeper, waiting):
    parent = subprocess.Popen(["/bin/sh", "-c", "sleep 3600 & wait"])
    dead = subprocess.Popen(["/bin/true"])
    try:
        waiting(lambda: len(processes.descendants(parent.pid)) == 1, what="the grandchild")
        waiting(lambda: processes.look_up(dead.pid).state == "Z", what="a zombie")
        found = {process.pid for process in processes.descendants(os.getpid())}
        grandchild = processes.descendants(parent.pid)[0].pid
        assert {parent.pid, grandchild, sleeper.pid} <= found
        assert dead.pid not in found
        assert sleeper.pid not in {process.pid for process in processes.descendants(parent.pid)}
        os.kill(grandchild, 9)
    finally:
        parent.wait()
        dead.wait()


def test_who_holds_a_pipe_is_found_among_the_likely_and_else_anywhere(sleeper):
    pipe = [sleeper.stdout.fileno()]
    ours = {os.getpid()}
    assert processes.holders(pipe, likely=[sleeper.pid], ours=ours) == [sleeper.pid]
    assert processes.holders(pipe, likely=[], ours=ours) == [sleeper.pid]
    assert processes.holders(pipe, likely=[], ours={*ours, sleeper.pid}) == []


def test_a_process_is_described_by_its_command(sleeper, waiting, tmp_path):
    desired = f"{sleeper.pid} ({tmp_path}/a) S 1 (b 60)"
    waiting(lambda: processes.describe(sleeper.pid) == desired, what=desired)


def test_a_long_command_is_cut():
    process = subprocess.Popen(["/bin/sh", "-c", "sleep 3600; : " + "x" * 10_000])
    try:
        assert len(processes.describe(process.pid)) < 200
    finally:
        for child in processes.descendants(process.pid):
            os.kill(child.pid, 9)
        process.kill()
        process.wait()


@pytest.mark.parametrize("to_group", [False, True])
def test_a_signal_meets_only_the_process_that_began_at_that_time(to_group):
    with subprocess.Popen(["sleep", "3600"], start_new_session=True) as process:
        began = processes.look_up(process.pid).start_time
        assert not processes.send_signal(process.pid, began - 1, signal.SIGKILL, to_group=to_group)
        assert not processes.is_running(process.pid, began - 1)
        assert processes.is_running(process.pid, began)
        assert process.poll() is None
        assert processes.send_signal(process.pid, began, signal.SIGKILL, to_group=to_group)
        assert process.wait() == -signal.SIGKILL
    assert not processes.send_signal(process.pid, began, signal.SIGKILL, to_group=to_group)


def test_nothing_is_found_and_nothing_fails_where_no_file_can_be_opened():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        assert processes.descendants(os.getpid()) == []
        assert processes.holders([1], likely=[], ours=()) == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
