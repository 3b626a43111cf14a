"""Starting our own programs."""

from __future__ import annotations

import fcntl
import json
import os
import signal

import pytest

from agent.daemon.background import Background
from agent.daemon.spawn import collect, pipe_with, spawn_module


def test_a_child_inherits_nothing_but_its_streams() -> None:
    reader, writer = os.pipe()
    ours = {fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 500) for end in (reader, writer)}
    code = b"import os\nprint('open:', os.listdir('/proc/self/fd'))"
    status, output = collect(spawn_module("code", capture=True, handoff=code, environment={"PYTHONPATH": "/nowhere"}))
    for descriptor in (reader, writer, *ours):
        os.close(descriptor)
    assert status == 0
    assert b"open: " in output
    assert not [descriptor for descriptor in ours if str(descriptor).encode() in output]


def test_it_reads_what_it_was_handed_and_leads_a_session_of_its_own() -> None:
    child = spawn_module("json.tool", "--compact", handoff=b'{"a": 1}', capture=True, environment={})
    assert os.getsid(child.pid) == child.pid
    status, output = collect(child)
    assert (status, json.loads(output)) == (0, {"a": 1})


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 300_001])
def test_a_hand_off_is_whole_however_large_it_is(size: int) -> None:
    data = os.urandom(size)
    with open(pipe_with(data), "rb") as pipe:
        assert pipe.read() == data


def test_a_child_that_is_killed_says_so() -> None:
    child = spawn_module("http.server", "0", capture=True, environment={})
    os.kill(child.pid, signal.SIGKILL)
    assert collect(child)[0] == -signal.SIGKILL


def test_no_descriptor_stays_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        collect(spawn_module("this", capture=True, environment={}))
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_done_in_the_background_comes_back_with_its_name() -> None:
    background = Background()
    background.start("good", lambda: 42)
    os.read(background.wake, 0)
    while not (done := background.take()):
        pass
    assert (done[0].name, done[0].result, done[0].error) == ("good", 42, None)


def test_an_error_in_the_background_comes_back_and_the_next_job_is_done() -> None:
    def fail() -> None:
        raise ValueError("no")

    background = Background()
    background.start("bad", fail)
    background.start("good", lambda: 1)
    found = []
    while len(found) < 2:
        found += background.take()
    assert isinstance(found[0].error, ValueError)
    assert found[1].result == 1
