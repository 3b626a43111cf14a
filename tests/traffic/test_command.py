from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from agent.retry import Clock
from agent.traffic.control import TrafficControl
from agent.traffic.errors import TrafficError
from agent.traffic.policy import Policy
from agent.traffic.provider import BalancerAccess
from agent.traffic.record import Phase, Records
from waiting import until

D1 = {"deployment_id": "d-1", "group_id": "g"}


class Programs:
    """Shell scripts that keep where the host is in a file, and a journal of what was run."""

    def __init__(self, directory):
        self.directory = directory
        self.journal = directory / "journal"
        self.state = directory / "state"
        self.state.write_text("in")
        (directory / "records").mkdir()
        self.records = Records(str(directory / "records"))
        self.config = {"type": "command", "name": "our router", "command_seconds": 10}
        self.config |= dict.fromkeys(("status", "drained", "healthy"))
        self.add("block", f"echo out > {self.state}")
        self.add("allow", f"echo in > {self.state}")
        self.add("status", f"grep -q in {self.state}")

    def add(self, action, text):
        path = self.directory / action
        path.write_text(f"#!/bin/sh\necho $TRAFFIC_ACTION >> {self.journal}\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.config[action] = [str(path)]

    def control(self, **policy):
        clock = Clock(lambda seconds: time.sleep(0.01), time.monotonic, lambda: 0.0)
        policy = Policy([self.config], **policy)
        return TrafficControl("Web", policy, self.records, BalancerAccess(), tell=lambda text: None, clock=clock)

    def ran(self):
        return self.journal.read_text().split()


@pytest.fixture
def programs(tmp_path):
    return Programs(tmp_path)


def test_a_host_leaves_and_comes_back_by_the_operators_programs(programs):
    control = programs.control()
    control.take_out(**D1)
    assert programs.state.read_text() == "out\n"
    control.put_back()
    assert programs.state.read_text() == "in\n"
    assert programs.records.read("Web").phase is Phase.FINALIZED


def test_without_a_status_program_the_host_counts_as_in_service(programs):
    programs.config["status"] = None
    control = programs.control()
    control.take_out(**D1)
    control.take_out(**D1)
    control.put_back()
    assert programs.ran() == ["block", "allow"]


def test_drained_and_healthy_are_asked_until_they_say_yes(programs):
    asked = f"{programs.directory}/asked-$TRAFFIC_ACTION"
    three = f"echo x >> {asked}; [ $(wc -l < {asked}) -ge 3 ]"
    programs.add("drained", three)
    programs.add("healthy", three)
    control = programs.control()
    control.take_out(**D1)
    control.put_back()
    assert (programs.ran().count("drained"), programs.ran().count("healthy")) == (3, 3)


def test_a_program_that_fails_is_named_with_its_output_and_the_host_put_back(programs):
    programs.add("block", f"echo out > {programs.state}; echo the router is locked; exit 4")
    with pytest.raises(TrafficError, match=r"our router: The block program .* status 4: the router is locked"):
        programs.control().take_out(**D1)
    assert programs.state.read_text() == "in\n"
    assert programs.records.read("Web").phase is Phase.FINALIZED


def test_a_program_that_asks_to_be_run_again_is_run_again(programs):
    second = f"{programs.directory}/second"
    programs.add("block", f"[ -e {second} ] || {{ touch {second}; exit 75; }}; echo out > {programs.state}")
    programs.control().take_out(**D1)
    assert programs.ran().count("block") == 2


def test_a_host_that_is_still_in_service_afterwards_is_not_changed(programs):
    programs.add("block", "true")
    with pytest.raises(TrafficError, match="still does"):
        programs.control(drain_seconds=0.1).take_out(**D1)
    assert programs.records.read("Web").phase is Phase.FINALIZED


def test_a_program_that_hangs_is_ended_with_its_children(programs):
    pid = programs.directory / "pid"
    programs.add("block", f"sleep 3600 & echo $! > {pid}; wait")
    for seconds in (0.3, 3.0, 30.0, 300.0):  # on a busy machine the program has not begun at the first
        programs.config["command_seconds"] = seconds
        with pytest.raises(TrafficError, match=rf"did not end within {seconds:g} s"):
            programs.control(time_limit_seconds=0.1).take_out(**D1)
        if pid.exists():
            break
    until(lambda: not _alive(int(pid.read_text())), "the program's end")


def test_a_program_whose_agent_is_killed_does_not_move_the_host_after_all(programs):
    programs.add("block", f"echo $$ > {programs.directory}/pid; sleep 3600; echo out > {programs.state}")
    code = f"from agent.traffic.command import Commands; Commands({programs.config!r}).block(None)"
    with subprocess.Popen([sys.executable, "-c", code]) as agent:
        pid_file = programs.directory / "pid"
        pid = until(lambda: pid_file.exists() and pid_file.read_text().strip(), "the program's start")
        agent.kill()
    until(lambda: not _alive(int(pid)), "the program's end")
    assert programs.state.read_text() == "in"


def test_a_program_is_judged_by_its_own_end_and_not_by_what_it_has_started(programs):
    programs.add("allow", f"echo in > {programs.state}; sleep 3600 & echo $! > {programs.directory}/pid")
    control = programs.control()
    control.take_out(**D1)
    control.put_back()
    pid = int((programs.directory / "pid").read_text())
    assert _alive(pid)
    os.kill(pid, signal.SIGKILL)
    assert programs.ran().count("allow") == 1


def test_a_program_that_is_missing_is_named(programs):
    os.unlink(programs.config["block"][0])
    with pytest.raises(TrafficError, match="cannot be run: No such file or directory"):
        programs.control().take_out(**D1)


def test_programs_do_not_see_the_agents_environment(programs, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    programs.add("block", f"env > {programs.directory}/env; echo out > {programs.state}")
    programs.control().take_out(**D1)
    assert "secret" not in (programs.directory / "env").read_text()


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
