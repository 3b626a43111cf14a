"""What earlier agents and deployments have left is found, and what is stale is removed."""

from __future__ import annotations

import json
import os
import time

import pytest

from agent.doctor.examination import examine, repair
from agent.install.journal import InstallRecord, Journal
from agent.store.commands import CommandStore, SavedOutcome, new_record
from agent.traffic.policy import Policy
from agent.traffic.provider import Member
from agent.traffic.record import Phase, Records, TrafficRecord
from examined_host import BY_NAME, ExaminedHost
from stand_in_agent import running_agent

COMMAND = {"command_identifier": "c-1", "host_identifier": "h", "execution_id": "e", "command_name": "AfterInstall"}


def ended(status: str, text: str) -> SavedOutcome:
    payload = json.dumps({"error_code": 5, "message": text, "log": "", "script_name": ""})
    return SavedOutcome(status, payload, time.time(), "d-1", "g-1")


def test_a_stale_pid_file_is_found_and_removed(host: ExaminedHost) -> None:
    host.passes("pid-file", "no pid file is left")
    pid_file = host.directory / "pid" / "codedeploy-agent.pid"
    pid_file.parent.mkdir()
    pid_file.write_text("1\n")
    host.warns("pid-file", "is stale", "doctor --fix")
    assert host.repair("pid-file") == [f"{pid_file} is removed; no agent was running."]
    assert not pid_file.exists()
    host.passes("pid-file")


def test_the_pid_file_of_an_agent_that_runs_stays(host: ExaminedHost) -> None:
    pid_file = host.directory / "pid" / "codedeploy-agent.pid"
    with running_agent(pid_file.parent) as process:
        host.passes("pid-file", f"PID {process.pid}")
        with pytest.raises(Exception, match="Another agent is running"):
            host.repair("pid-file")
        assert pid_file.read_text() == f"{process.pid}\n"


def test_stale_tracking_files_are_found_and_removed(host: ExaminedHost) -> None:
    tracking = host.root / "ongoing-deployment"
    tracking.mkdir(parents=True)
    (tracking / "d-now").write_text("c-now")
    host.passes("tracking-files")
    (tracking / "d-old").write_text("c-old")
    os.utime(tracking / "d-old", (1, 1))
    (tracking / "d-empty").touch()
    store = CommandStore(host.subject.layout)
    directory = store.add(new_record(COMMAND, now=time.time()), ended("Succeeded", ""))
    store.finish(directory, ended("Succeeded", ""))
    (tracking / "d-done").write_text("c-1")
    host.warns("tracking-files", "3 tracking files are stale: d-done, d-empty, d-old", "doctor --fix")
    with running_agent(host.directory / "pid"):
        assert "stay while the agent runs" in host.repair("tracking-files")[0]
    assert len(host.repair("tracking-files")) == 3
    assert os.listdir(tracking) == ["d-now"]
    host.passes("tracking-files")


def test_an_install_that_was_interrupted_is_found(host: ExaminedHost) -> None:
    host.passes("journals")
    directory = host.state / "install"
    directory.mkdir(parents=True)
    Journal(str(directory / "g-1.journal")).begin(InstallRecord("g-1", "/x", {}))
    host.warns("journals", "An Install of g-1 was interrupted", "goes back or finishes")
    (directory / "g-2.journal").write_text("half a")
    host.fails("journals", "g-2.journal", "move the journal away")
    (host.root / "ongoing-deployment").mkdir()
    (host.root / "ongoing-deployment" / "d-1").write_text("c-9")
    host.skips("journals", "in progress")


def test_an_event_that_hangs_is_found(host: ExaminedHost) -> None:
    host.passes("in-progress", "No deployment")
    tracking = host.root / "ongoing-deployment"
    tracking.mkdir(parents=True)
    (tracking / "d-1").write_text("c-1")
    host.passes("in-progress", "1 events")
    now = time.time()
    os.utime(tracking / "d-1", (now - 7200, now - 7200))
    host.warns("in-progress", "of d-1 has run for 120 min", "timeout in the AppSpec")


def test_an_outcome_that_the_service_does_not_know_is_found(host: ExaminedHost) -> None:
    host.passes("outcomes")
    host.passes("last-deployment", "No deployment")
    store = CommandStore(host.subject.layout)
    store.add(new_record(COMMAND, now=time.time()), ended("Failed", "Script x failed\nwith exit code 3"))
    host.warns("outcomes", "1 outcomes", "the agent sends them")


def test_why_the_last_deployment_failed_is_said(host: ExaminedHost) -> None:
    store = CommandStore(host.subject.layout)
    store.add(new_record(COMMAND, now=time.time()), ended("Failed", "Script x failed\nwith exit code 3"))
    host.warns("last-deployment", "of d-1, failed", "deployment=d-1")
    host.warns("last-deployment", "Script x failed with exit code 3", "scripts.log")
    later = ended("Succeeded", "")._replace(ended_at=time.time() + 5)
    store.add(new_record({**COMMAND, "command_identifier": "c-2"}, now=time.time()), later)
    host.passes("last-deployment", "ended as Succeeded")


def test_a_host_that_is_out_of_its_balancer_is_found(host: ExaminedHost) -> None:
    host.passes("balancer")
    traffic = host.state / "traffic"
    traffic.mkdir(parents=True)
    member = Member({"type": "command"}, "web/host-1", {}, "in")
    record = TrafficRecord(
        "Web",
        Policy([{"type": "command"}]),
        Phase.OUT,
        (member,),
        since=time.time(),
        kept="the deployment failed",
    )
    Records(str(traffic)).write(record)
    host.warns("balancer", "Traffic of Web: this host is out of service (web/host-1)", "traffic allow")
    Records(str(traffic)).write(record._replace(problem="HAProxy does not answer"))
    host.fails("balancer", "HAProxy does not answer", "traffic status")


def test_a_repair_that_cannot_be_done_says_so_and_stops_nothing(host: ExaminedHost) -> None:
    pid_file = host.directory / "pid" / "codedeploy-agent.pid"
    pid_file.parent.mkdir()
    pid_file.write_text("1\n")
    subject = host.subject
    examined = examine(subject, [BY_NAME["pid-file"]])
    with running_agent(pid_file.parent):
        done = repair(subject, examined)
    assert [text.partition(":")[0] for _, text in done] == ["Nothing is changed"]
