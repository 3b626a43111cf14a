"""The gate that keeps a host from asking a service that has had enough."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.service.throttle import ThrottleGate, boot_clock


class Clock:
    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["file", "process"])
def path(request, tmp_path):
    return str(tmp_path / "throttle.json") if request.param == "file" else None


def gate_at(path, clock, chance=0.0):
    return ThrottleGate(path, sleep=clock.sleep, clock=clock, random=lambda: chance)


def test_nobody_waits_at_an_open_gate(path, clock):
    gate = gate_at(path, clock)
    gate.wait()
    gate.succeeded()
    assert (clock.slept, gate.remaining()) == ([], 0.0)
    assert path is None or not os.path.exists(path)


def test_each_throttling_doubles_the_delay_up_to_half_a_minute(path, clock):
    gate = gate_at(path, clock)
    for _ in range(9):
        gate.throttled()
        gate.wait()
    assert clock.slept == pytest.approx([0.3, 0.6, 1.2, 2.4, 4.8, 9.6, 19.2, 30, 30])


def test_requests_that_are_throttled_together_count_once(path, clock):
    gate = gate_at(path, clock)
    for _ in range(5):
        gate.throttled()
    assert gate.remaining() == pytest.approx(0.3)


def test_a_success_opens_the_gate_and_forgets_the_delays(path, clock):
    gate = gate_at(path, clock)
    for _ in range(3):
        gate.throttled()
        gate.wait()
    gate.succeeded()
    assert gate.remaining() == 0.0
    gate.throttled()
    assert gate.remaining() == pytest.approx(0.3)


def test_processes_that_wait_together_do_not_come_back_together(path, clock):
    gate = gate_at(path, clock, chance=1.0)
    gate.throttled()
    gate.wait()
    assert clock.slept == pytest.approx([0.375])


def test_a_stop_ends_the_waiting(path, clock):
    class StoppedError(Exception):
        pass

    def stop(seconds):
        raise StoppedError

    gate = ThrottleGate(path, sleep=stop, clock=clock)
    gate.throttled()
    with pytest.raises(StoppedError):
        gate.wait()


def test_one_gate_is_shared_by_all_processes_of_a_host(tmp_path):
    path = str(tmp_path / "throttle.json")
    program = "import sys; from agent.service.throttle import ThrottleGate; ThrottleGate(sys.argv[1]).throttled()"
    subprocess.run([sys.executable, "-c", program, path], check=True)
    gate = ThrottleGate(path)
    assert 0 < gate.remaining() <= 1
    gate.succeeded()
    assert ThrottleGate(path).remaining() == 0


def test_the_file_is_for_the_agent_alone(tmp_path, clock):
    path = str(tmp_path / "throttle.json")
    gate_at(path, clock).throttled()
    assert os.stat(path).st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\x00",
        b"{}",
        b'{"delay": "x", "until": 1}',
        b'{"delay": null, "until": null}',
        b'{"delay": 1, "until": NaN}',
        b'{"delay": NaN, "until": 1001}',
        b'{"delay": 1, "until": Infinity}',
        b'{"delay": 1e9, "until": 1e9}',
        b'{"delay": -5, "until": 990}',
        b'{"delay": 30, "until": 5000}',
        b'{"delay": 1, "until": 1000.5}' + b" " * 10000 + b"x",
        b"9" * 100000,
    ],
)
def test_a_damaged_file_never_stops_the_agent(tmp_path, clock, content):
    path = tmp_path / "throttle.json"
    path.write_bytes(content)
    gate = gate_at(str(path), clock)
    assert gate.remaining() <= 1.0
    gate.wait()
    gate.throttled()
    assert gate.remaining() <= 2.0
    gate.succeeded()
    assert gate.remaining() == 0.0


def test_a_deadline_of_the_last_boot_does_not_hold_the_agent(tmp_path, clock):
    path = str(tmp_path / "throttle.json")
    gate = gate_at(path, clock)
    clock.now = 900000.0
    gate.throttled()
    clock.now = 12.0
    assert gate.remaining() == 0.0
    gate.throttled()
    assert gate.remaining() == pytest.approx(0.3)


@pytest.mark.parametrize("obstacle", ["directory", "missing", "link"])
def test_a_file_that_cannot_be_written_leaves_the_gate_to_the_process(tmp_path, clock, obstacle):
    path = tmp_path / "state" / "throttle.json"
    if obstacle != "missing":
        path.parent.mkdir()
    if obstacle == "directory":
        path.mkdir()
    if obstacle == "link":
        path.symlink_to(tmp_path / "elsewhere")
    gate = gate_at(str(path), clock)
    gate.throttled()
    gate.wait()
    assert clock.slept == pytest.approx([0.3])
    gate.succeeded()
    assert gate.remaining() == 0.0
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_can_be_written_again_opens_the_gate(tmp_path, clock):
    directory = tmp_path / "state"
    gate = gate_at(str(directory / "throttle.json"), clock)
    gate.throttled()
    directory.mkdir()
    gate.succeeded()
    assert gate.remaining() == 0.0


def test_two_processes_that_are_throttled_together_do_not_overwrite_each_other(tmp_path, clock):
    path = str(tmp_path / "throttle.json")
    with open(path, "wb") as file, ThreadPoolExecutor(1) as pool:
        fcntl.flock(file, fcntl.LOCK_EX)
        change = pool.submit(gate_at(path, clock).throttled)
        with pytest.raises(TimeoutError):
            change.result(0.1)
        fcntl.flock(file, fcntl.LOCK_UN)
        change.result(10)
    assert gate_at(path, clock).remaining() == pytest.approx(0.3)


def test_a_file_holds_what_another_version_can_read(tmp_path, clock):
    path = tmp_path / "throttle.json"
    gate_at(str(path), clock).throttled()
    assert json.loads(path.read_bytes()) == {"delay": 0.3, "until": 1000.3}


def test_the_clock_is_the_same_for_all_processes_and_goes_on():
    program = "from agent.service.throttle import boot_clock; print(boot_clock())"
    before = boot_clock()
    other = float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout)
    assert before <= other <= boot_clock()
