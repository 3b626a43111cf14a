"""The agent as a process, against a service over the wire."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.daemon.workers import AT_MOST
from agent.store.command_ids import short_id
from agent.store.commands import CommandStore, new_record
from agent.store.layout import Layout
from agent_host import AGENT, AgentHost, deploy, revision, specification
from command_service import HOST, CommandService, unavailable
from waiting import Guard

EVENTS = [
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
]


def fault(times: int, answer: tuple[int, dict[str, Any]]) -> Any:
    """An answer that the service gives so many times instead of its own."""
    left = [times]

    def give(body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        left[0] -= 1
        return answer if left[0] >= 0 else None

    return give


def closed(host: AgentHost) -> None:
    host.until(lambda: not list((host.state / "commands").iterdir()), "all commands to be closed")


def test_a_deployment_goes_through_all_of_its_events(service: CommandService, host: AgentHost, tmp_path: Path) -> None:
    place = revision(tmp_path / "rev", {"AfterInstall": f"echo $DEPLOYMENT_ID > {tmp_path}/seen"}, to=tmp_path / "out")
    metrics = tmp_path / "agent.prom"
    host.write_config(metrics_file=metrics)
    host.start()
    ended = deploy(service, specification(place, deployment="d-ABC"), EVENTS)
    assert {event: found["status"] for event, found in ended.items()} == dict.fromkeys(EVENTS, "Succeeded")
    assert ended["DownloadBundle"]["message"] == "Succeeded: BundleSource=downloaded"
    assert (tmp_path / "out" / "index.html").read_text() == "hello"
    assert (tmp_path / "seen").read_text() == "d-ABC\n"
    noops = [json.loads(body["Diagnostics"]["Payload"]) for body in service.of("PutHostCommandAcknowledgement")]
    assert [found["IsCommandNoop"] for found in noops] == [True, False, True, False, False, True, True]
    said = [line for line in host.log_text().splitlines() if "Deployment d-ABC " in line]
    assert [re.findall(r"(of App/Group|ended: Succeeded)", line) for line in said] == [
        ["of App/Group"],
        ["ended: Succeeded"],
    ]
    counted = 'codedeploy_agent_deployments_total{status="Succeeded"} 1.0'
    host.until(lambda: counted in metrics.read_text(), "the deployment to be counted")
    assert 'lifecycle_events_total{event="AfterInstall",status="Succeeded"} 1.0' in metrics.read_text()


def test_a_deployment_with_a_load_balancer_has_not_ended_before_its_last_event(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    place = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    host.start()
    deploy(service, specification(place), ["BeforeBlockTraffic", "DownloadBundle"])
    closed(host)
    deploy(service, specification(place), ["ValidateService", "AfterAllowTraffic"])
    closed(host)
    (line,) = [line for line in host.log_text().splitlines() if " ended: " in line]
    assert "Deployment d-1 ended: Succeeded event=AfterAllowTraffic" in line


def test_a_command_that_is_handed_out_again_and_again_is_done_once(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    place = revision(tmp_path / "rev", {"BeforeInstall": f"echo ran >> {tmp_path}/runs"}, to=tmp_path / "out")
    host.start()
    deploy(service, specification(place), ["DownloadBundle"])
    service.hand_out_again = True
    command = service.add("BeforeInstall", specification(place))
    service.completion(command)
    # Handed out once more after it has ended: the outcome is told again, since the service seems not to know it.
    service.wait_for(lambda: len(service.completions(command)) == 2, "a second report")
    assert service.completions(command)[0] == service.completions(command)[1]
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert len(service.of("PutHostCommandAcknowledgement", command)) == 1


def test_nothing_runs_for_a_message_that_was_changed_on_its_way(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    place = revision(tmp_path / "rev", {"BeforeInstall": f"touch {tmp_path}/ran"}, to=tmp_path / "out")
    host.start()
    deploy(service, specification(place), ["DownloadBundle"])
    genuine = service.signer
    service.seal = lambda document: _with_other_content(genuine.seal(document))
    found = service.completion(command := service.add("BeforeInstall", specification(place)))
    assert (found["status"], found["error_code"]) == ("Failed", 5)
    assert not service.of("PutHostCommandAcknowledgement", command)
    assert not (tmp_path / "ran").exists()


def test_a_stranger_signs_in_vain_where_the_signer_is_pinned(service: CommandService, tmp_path: Path) -> None:
    place = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    with AgentHost(tmp_path / "host", service.url, deployment_signer_fingerprints=f"'{'ab' * 32}'") as host:
        host.start()
        found = service.completion(service.add("DownloadBundle", specification(place)))
        assert (found["status"], found["error_code"]) == ("Failed", 5)
        assert not (host.root / "group-1").exists()


def test_a_recorded_message_is_not_used_for_the_commands_of_another_deployment(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    old = revision(tmp_path / "old", {"BeforeInstall": f"echo old >> {tmp_path}/runs"}, to=tmp_path / "out")
    new = revision(tmp_path / "new", {"BeforeInstall": f"echo new >> {tmp_path}/runs"}, to=tmp_path / "out")
    recorded: list[str] = []
    service.seal = lambda document: recorded.append(service.signer.seal(document)) or recorded[0]  # type: ignore[func-returns-value]
    host.start()
    service.completion(service.add("DownloadBundle", specification(old, deployment="d-1")))
    service.seal = service.signer.seal
    service.completion(service.add("DownloadBundle", specification(new, deployment="d-2")))
    service.seal = lambda document: recorded[0]
    command = service.add("BeforeInstall", specification(new, deployment="d-2"))
    found = service.completion(command)
    assert found["status"] == "Failed"
    assert "refused as a replay: that id belongs to another deployment than d-1" in found["message"]
    assert not service.of("PutHostCommandAcknowledgement", command)
    assert not (tmp_path / "runs").exists()


def test_a_recorded_message_of_a_deployment_that_has_ended_runs_nothing(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    events = ["DownloadBundle", "BeforeInstall", "ValidateService"]
    place = revision(tmp_path / "rev", {"BeforeInstall": f"echo ran >> {tmp_path}/runs"}, to=tmp_path / "out")
    host.start()
    deploy(service, specification(place), events)
    found = deploy(service, specification(place), events)
    assert list(found) == ["DownloadBundle"]
    for execution in ("", "another/execution"):
        found["again"] = service.completion(service.add("BeforeInstall", specification(place), execution=execution))
        assert "refused as a replay: the deployment d-1 has come past ValidateService" in found["again"]["message"]
    assert (tmp_path / "runs").read_text() == "ran\n"


@pytest.mark.parametrize("end", ["a failure", "a kill"])
def test_a_deployment_that_has_failed_here_is_not_begun_again(
    service: CommandService, host: AgentHost, tmp_path: Path, end: str
) -> None:
    script = "false" if end == "a failure" else f"touch {tmp_path}/here; sleep 1000"
    place = revision(tmp_path / "rev", {"BeforeInstall": script}, to=tmp_path / "out")
    host.start()
    deploy(service, specification(place), ["DownloadBundle"])
    command = service.add("BeforeInstall", specification(place))
    if end == "a kill":
        host.until((tmp_path / "here").exists, "the script to run")
        for worker in host.workers():
            worker.kill()
    assert service.completion(command)["status"] == "Failed"
    found = service.completion(service.add("Install", specification(place)))
    assert "refused as a replay: the deployment d-1 is over on this host" in found["message"]
    assert not (tmp_path / "out").exists()


def test_a_deployment_that_goes_on_under_another_execution_id_is_taken_with_a_warning(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    place = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    host.start()
    deploy(service, specification(place), ["DownloadBundle"])
    command = service.add("Install", specification(place), execution="another/execution")
    assert service.completion(command)["status"] == "Succeeded"
    (warning,) = [line for line in host.log_text().splitlines() if "goes on under another execution id" in line]
    assert "WARN" in warning
    assert "another/execution" in warning


def test_a_specification_that_cannot_be_had_is_a_failure_that_is_reported(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    service.faults["GetDeploymentSpecification"] = lambda body: (
        400,
        {"__type": "ClientException", "message": "no such deployment"},
    )
    host.start()
    found = service.completion(service.add("Install", specification(tmp_path)))
    assert (found["status"], found["error_code"]) == ("Failed", 5)
    assert "no such deployment" in found["message"]
    closed(host)


@pytest.mark.parametrize("answer", [(500, {}), (429, {}), (400, {"__type": "ThrottlingException"})])
def test_one_poll_that_fails_is_repeated_before_anybody_notices(
    service: CommandService, host: AgentHost, answer: tuple[int, dict[str, Any]]
) -> None:
    service.faults["PollHostCommand"] = fault(1, answer)
    host.start()
    service.wait_for(lambda: len(service.of("PollHostCommand")) > 3, "polls after the one that failed")
    assert "ERROR" not in host.log_text()


def test_an_outcome_is_sent_until_the_service_takes_it(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    place = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    service.faults["PutHostCommandComplete"] = fault(3, unavailable({}))
    host.start()
    command = service.add("DownloadBundle", specification(place))
    assert service.completion(command)["status"] == "Succeeded"
    assert len(service.of("PutHostCommandComplete", command)) == 4
    closed(host)
    assert len(service.completions(command)) == 1


def test_the_next_event_is_asked_for_at_once_also_where_the_service_hands_it_out_late_and_holds_no_poll(
    service: CommandService, tmp_path: Path
) -> None:
    place = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    service.hold = 0
    with AgentHost(tmp_path / "host", service.url, wait_between_runs=86400) as host:
        first = service.add("DownloadBundle", specification(place))
        late: list[str] = []

        def hand_out_late(body: dict[str, Any]) -> None:
            if service.completions(first):
                late.append("a poll")
            if len(late) == 4:
                service.add("Install", specification(place))

        service.faults["PollHostCommand"] = hand_out_late
        host.start()
        service.wait_for(lambda: len(service.of("PutHostCommandComplete")) == 2, "the second event to be done")


def test_an_outcome_that_the_service_does_not_want_is_not_sent_for_ever(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    place = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    refusal = (400, {"__type": "ClientException", "message": "the command is over"})
    service.faults["PutHostCommandComplete"] = lambda body: refusal
    host.start()
    command = service.add("DownloadBundle", specification(place))
    service.wait_for(lambda: len(service.of("PutHostCommandComplete", command)) == 3, "three attempts")
    closed(host)
    assert "the command is over" in host.log_text()


def test_something_in_between_that_refuses_does_not_lose_an_outcome(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    place = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    service.faults["PutHostCommandComplete"] = fault(4, (404, {}))
    host.start()
    command = service.add("DownloadBundle", specification(place))
    assert service.completion(command)["status"] == "Succeeded"


@pytest.mark.parametrize("name", ["progress.json", "outcome.json"])
def test_a_command_whose_progress_cannot_be_read_is_reported_as_failed_and_not_run(
    service: CommandService, host: AgentHost, tmp_path: Path, name: str
) -> None:
    place = revision(tmp_path / "rev", {"BeforeInstall": f"touch {tmp_path}/ran"}, to=tmp_path / "out")
    fields = {
        "command_identifier": "command-of-yesterday",
        "host_identifier": HOST,
        "execution_id": "d-1/x",
        "command_name": "BeforeInstall",
    }
    store = CommandStore(Layout(str(host.root)))
    directory = Path(store.add(new_record(fields, now=time.time())).path)
    (directory / name).write_text("{")
    host.start()
    found = service.completion("command-of-yesterday")
    assert (found["status"], found["error_code"]) == ("Failed", 7)
    assert not (tmp_path / "ran").exists()
    assert place.exists()


@pytest.mark.needs("root", "mount")
@pytest.mark.parametrize("filled", ["while the script runs", "before the report"])
def test_a_disk_that_is_full_when_a_script_ends_does_not_make_a_failure_of_its_success(
    service: CommandService, host: AgentHost, tmp_path: Path, filled: str
) -> None:
    go = tmp_path / "go"
    script = f"touch {tmp_path}/here; until [ -e {go} ]; do sleep 0.05; done"
    place = revision(tmp_path / "rev", {"BeforeInstall": script}, to=tmp_path / "out")
    host.root.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", host.root], check=True)
    try:
        host.start()
        deploy(service, specification(place), ["DownloadBundle"])
        command = service.add("BeforeInstall", specification(place))
        host.until((tmp_path / "here").exists, "the script to run")
        if filled == "while the script runs":
            fill(host.root / "filler")
        else:
            service.faults["PutHostCommandComplete"] = lambda body: fill(host.root / "filler")
        go.touch()
        assert service.completion(command)["status"] == "Succeeded"
        host.until(lambda: not list((host.state / "commands").glob("[!.]*")), "the command to be closed")
        assert len(service.completions(command)) == 1
    finally:
        host.kill_everything()
        subprocess.run(["umount", "--lazy", host.root], check=True)


def fill(path: Path) -> None:
    """Leave no byte free on a file system."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(512))


def test_an_agent_whose_parent_ignores_dead_children_starts(service: CommandService, host: AgentHost) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        host.start()
    finally:
        signal.signal(signal.SIGCHLD, before)
    service.wait_for(lambda: service.of("PollHostCommand"), "a poll")


def test_a_strange_thing_in_the_place_of_the_tracking_directory_stops_nothing(
    service: CommandService, host: AgentHost
) -> None:
    host.root.mkdir(parents=True)
    (host.root / "ongoing-deployment").touch()
    host.start()
    service.wait_for(lambda: service.of("PollHostCommand"), "a poll")


@pytest.mark.parametrize("status", ["Succeeded", "Failed"])
def test_a_command_that_the_service_has_closed_is_not_executed(
    service: CommandService, host: AgentHost, tmp_path: Path, status: str
) -> None:
    place = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    service.ack_status = status
    host.start()
    command = service.add("DownloadBundle", specification(place))
    service.wait_for(lambda: service.of("PutHostCommandAcknowledgement", command), "the acknowledgement")
    closed(host)
    assert not service.of("PutHostCommandComplete", command)
    assert not (host.root / "group-1" / "d-1" / "deployment-archive").exists()
    outcome = CommandStore(Layout(str(host.root))).finished(command)
    assert outcome is not None
    assert (outcome.event, outcome.closed_as) == ("DownloadBundle", status)


def test_a_no_op_that_the_service_calls_failed_is_set_right(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    place = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    service.ack_status = "Failed"
    host.start()
    found = service.completion(service.add("ApplicationStop", specification(place)))
    assert (found["status"], found["message"]) == ("Succeeded", "Succeeded: CompletedNoopCommand")


def test_an_order_to_update_the_agent_downloads_nothing_and_says_how_it_is_done(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    host.start()
    found = service.completion(service.add("UpdateDeploymentAgent", specification(tmp_path)))
    assert (found["status"], found["error_code"]) == ("Failed", 5)
    assert "not updated by a command" in found["message"]


def test_a_corrupt_record_is_set_aside_and_stops_nothing(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    place = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    broken = host.state / "commands" / "broken"
    broken.mkdir(parents=True)
    (broken / "record.json").write_text("{")
    host.start()
    assert service.completion(service.add("DownloadBundle", specification(place)))["status"] == "Succeeded"
    host.until(lambda: (host.state / "set-aside" / "broken" / "record.json").exists(), "the record to be set aside")
    assert "broken" in host.log_text()


def test_what_an_official_agent_left_unfinished_is_reported(service: CommandService, host: AgentHost) -> None:
    directory = host.root / "ongoing-deployment"
    directory.mkdir(parents=True)
    (directory / "d-OLD").write_text("command-of-the-other")
    (directory / "d-BROKEN").write_bytes(b"\xff\x00")
    (directory / "d-ANCIENT").write_text("command-of-last-week")
    os.utime(directory / "d-ANCIENT", (time.time() - 90000,) * 2)
    host.start()
    found = service.completion("command-of-the-other")
    assert (found["status"], found["error_code"]) == ("Failed", 7)
    closed(host)
    assert not list(directory.iterdir())
    assert not service.of("PutHostCommandComplete", "command-of-last-week")
    assert [path.read_bytes() for path in (host.state / "set-aside").iterdir()] == [b"\xff\x00"]


def test_an_official_agent_would_find_the_command_in_progress(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    tracking = host.root / "ongoing-deployment" / "d-1"
    place = revision(tmp_path / "rev", {"BeforeInstall": f"cp {tracking} {tmp_path}/tracking"}, to=tmp_path / "out")
    host.start()
    deploy(service, specification(place), ["DownloadBundle"])
    command = service.add("BeforeInstall", specification(place))
    assert service.completion(command)["status"] == "Succeeded"
    assert (tmp_path / "tracking").read_text() == command
    closed(host)
    assert not tracking.exists()


def test_commands_of_one_group_run_one_after_the_other_as_they_came(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    script = f"echo begin $DEPLOYMENT_ID >> {tmp_path}/order; sleep 0.3; echo end $DEPLOYMENT_ID >> {tmp_path}/order"
    place = revision(tmp_path / "rev", {"BeforeInstall": script}, to=tmp_path / "out")
    host.start()
    names = [f"d-{number}" for number in range(3)]
    for name in names:
        deploy(service, specification(place, deployment=name), ["DownloadBundle"])
    commands = [service.add("BeforeInstall", specification(place, deployment=name)) for name in names]
    for command in commands:
        assert service.completion(command)["status"] == "Succeeded"
    expected = [f"{word} {name}" for name in names for word in ("begin", "end")]
    assert (tmp_path / "order").read_text().splitlines() == expected


def test_groups_do_not_wait_for_one_another(service: CommandService, host: AgentHost, tmp_path: Path) -> None:
    # Each hook waits until all three run: this ends only if they run side by side.
    script = (
        f"touch {tmp_path}/here-$DEPLOYMENT_GROUP_ID\n"
        f"until [ $(ls {tmp_path} | grep -c here-) = 3 ]; do sleep 0.05; done"
    )
    place = revision(tmp_path / "rev", {"BeforeInstall": script}, to=tmp_path / "out")
    host.start()
    specifications = [specification(place, deployment=f"d-{name}", group=name) for name in ("a", "b", "c")]
    for one in specifications:
        deploy(service, one, ["DownloadBundle"])
    for command in [service.add("BeforeInstall", one) for one in specifications]:
        assert service.completion(command)["status"] == "Succeeded"


def test_a_long_poll_does_not_hold_up_a_stop(service: CommandService, host: AgentHost) -> None:
    service.hold = 120
    host.start()
    service.wait_for(lambda: service.of("PollHostCommand"), "a poll")
    assert host.stop() == 0
    assert not (host.directory / "pid" / "codedeploy-agent.pid").exists()
    service.add("Install", specification(host.directory))  # lets the handler of the poll end


def test_a_second_agent_on_the_host_does_not_start(service: CommandService, host: AgentHost) -> None:
    host.start()
    service.wait_for(lambda: service.of("PollHostCommand"), "a poll")
    first, pid = host.process, (host.directory / "pid" / "codedeploy-agent.pid").read_text()
    host.start()
    assert host.process is not None
    assert host.process.wait() == 1
    assert (host.directory / "pid" / "codedeploy-agent.pid").read_text() == pid
    host.process = first


def test_a_second_agent_with_another_pid_dir_is_refused_the_same_root_dir(
    service: CommandService, host: AgentHost
) -> None:
    host.start()
    service.wait_for(lambda: service.of("PollHostCommand"), "a poll")
    first = host.process
    assert first is not None
    other = [f":{key}: {value}\n" for key, value in (host.settings | {"pid_dir": host.directory / "pid-2"}).items()]
    (host.directory / "other.yml").write_text("".join(other))
    command = [AGENT, "start", "--config-file", str(host.directory / "other.yml")]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"running as PID {first.pid} with the same root_dir, {host.root}, and another pid_dir" in second.stderr
    assert first.poll() is None


def test_scripts_see_the_region_and_the_host_and_no_credentials(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    place = revision(tmp_path / "rev", {"BeforeInstall": f"env > {tmp_path}/environment"}, to=tmp_path / "out")
    host.environment |= {"AWS_ACCESS_KEY_ID": "AKIAINHERITED", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    host.start()
    deploy(service, specification(place), ["DownloadBundle", "BeforeInstall"])
    seen = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines() if "=" in line)
    assert (seen["AWS_REGION"], seen["AWS_HOST_IDENTIFIER"]) == ("eu-central-1", HOST)
    assert not [name for name in seen if re.search("KEY|SECRET|TOKEN", name)]
    assert set(service.access_keys) == {"AKIAEXAMPLE"}


def test_scripts_may_dump_core_as_before_the_agent_gave_it_up_for_itself(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    script = f"grep core /proc/self/limits > {tmp_path}/script; grep core /proc/$PPID/limits > {tmp_path}/agent"
    place = revision(tmp_path / "rev", {"BeforeInstall": script}, to=tmp_path / "out")
    before = resource.getrlimit(resource.RLIMIT_CORE)
    soft = 123_456 if before[1] == resource.RLIM_INFINITY else before[1]
    resource.setrlimit(resource.RLIMIT_CORE, (soft, before[1]))
    try:
        host.start()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    deploy(service, specification(place), ["DownloadBundle", "BeforeInstall"])
    hard = "unlimited" if before[1] == resource.RLIM_INFINITY else str(before[1])
    assert (tmp_path / "script").read_text().split()[-3:-1] == [str(soft), hard]
    assert (tmp_path / "agent").read_text().split()[-3:-1] == ["0", hard]


def test_a_new_key_in_the_on_premises_file_is_taken_up_without_a_restart(
    service: CommandService, host: AgentHost
) -> None:
    host.start()
    service.wait_for(lambda: service.of("PollHostCommand"), "a poll")
    host.write_on_premises("AKIAROTATED", "other")
    service.wait_for(lambda: "AKIAROTATED" in service.access_keys, "a poll with the new key")


def test_what_can_be_reloaded_is_and_what_cannot_is_named(service: CommandService, host: AgentHost) -> None:
    host.start()
    service.wait_for(lambda: service.of("PollHostCommand"), "a poll")
    host.write_config(max_revisions=2, root_dir="/nowhere")
    host.until(lambda: "max_revisions" in host.log_text(), "the reload")
    (late,) = [line for line in host.log_text().splitlines() if "after a restart" in line]
    assert "root_dir" in late
    drop_ins = host.config.with_suffix(".d")
    drop_ins.mkdir()
    (drop_ins / "site.yml").write_text("http_read_timeout: 70\n")
    host.until(lambda: "changed: http_read_timeout" in host.log_text(), "the reload of a drop-in file")
    host.config.write_text("max_revisions: none\n")
    host.until(lambda: "stays as it was" in host.log_text(), "the refusal")
    count = len(service.of("PollHostCommand"))
    service.wait_for(lambda: len(service.of("PollHostCommand")) > count + 1, "the agent to poll on")


def test_every_line_of_a_command_names_it(service: CommandService, host: AgentHost, tmp_path: Path) -> None:
    script = f"touch {tmp_path}/here; sleep 3600"
    place = revision(tmp_path / "rev", {"BeforeInstall": script}, to=tmp_path / "out")
    host.start()
    deploy(service, specification(place, deployment="d-XYZ"), ["DownloadBundle"])
    command = service.add("BeforeInstall", specification(place, deployment="d-XYZ"))
    host.until((tmp_path / "here").exists, "the script to run")
    for worker in host.workers():
        worker.kill()
    service.completion(command)
    closed(host)
    lines = [line for line in host.log_text().splitlines() if re.search("BeforeInstall|worker|Reported Failed", line)]
    assert [line for line in lines if command in line] == lines[:1], "the long id is there once"
    ids = f"event=BeforeInstall command={short_id(command)} deployment=d-XYZ group=group-1"
    assert [line for line in lines if not line.endswith(f" {ids}")] == []
    texts = [re.sub(r"^\S+ (\S+) +\S+ | event=.*", r"\1 ", line) for line in lines]
    expected = [
        "INFO BeforeInstall received as command ",
        "INFO BeforeInstall started",
        "INFO Running script",
        r"WARN The worker \d+ of the command was killed",
        "WARN The script scripts/BeforeInstall.sh, which had outlived its worker, was ended",
        r"ERROR BeforeInstall failed in \d+\.\d s: BeforeInstall was interrupted during ",
        "INFO Deployment d-XYZ ended: Failed in BeforeInstall",
        "INFO Reported Failed to the service",
    ]
    assert len(texts) == len(expected), texts
    assert [text for text, start in zip(texts, expected, strict=True) if not re.match(start, text)] == []


def test_an_open_line_on_this_host_is_accepted_with_a_warning(service: CommandService, host: AgentHost) -> None:
    host.start()
    service.wait_for(lambda: service.of("PollHostCommand"), "a poll")
    (warning,) = [line for line in host.log_text().splitlines() if "plain http" in line]
    assert "WARN" in warning
    assert service.url in warning


def test_an_open_line_to_a_service_elsewhere_is_refused_with_a_reason(tmp_path: Path) -> None:
    with AgentHost(tmp_path / "host", "http://codedeploy.example.com") as host:
        host.start()
        host.until(lambda: "plain http" in host.log_text(), "the refusal")
        status = json.loads((host.state / "status.json").read_text())
        assert "plain http" in status["problem"]["text"]


def test_an_interrupted_install_is_looked_after_at_the_start(service: CommandService, host: AgentHost) -> None:
    journal = host.state / "install" / "group-1.journal"
    journal.parent.mkdir(parents=True)
    journal.write_text("not a journal")
    host.start()
    host.until(lambda: "set aside" in host.log_text(), "the journal to be judged")
    assert not journal.exists()


def _with_other_content(envelope: str) -> str:
    """The same signature around another document of the same length."""
    import base64

    lines = envelope.strip().splitlines()
    data = base64.b64decode("".join(lines[1:-1]))
    changed = data.replace(b'"ApplicationName"', b'"applicationName"')
    assert changed != data
    text = base64.encodebytes(changed).decode()
    return f"{lines[0]}\n{text}{lines[-1]}\n"


HOLD_ALL = """
import sys
from agent.store.commands import CommandDirectory
locks = [CommandDirectory(path).lock() for path in sys.argv[1:]]
for lock in locks:
    lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_with_sixteen_commands_in_hand_no_other_is_asked_for(service: CommandService, host: AgentHost) -> None:
    store = CommandStore(Layout(str(host.root)))
    fields = {"host_identifier": HOST, "execution_id": "d-1/x", "command_name": "Install"}
    records = [new_record({**fields, "command_identifier": f"c-{number}"}, now=1.0) for number in range(AT_MOST)]
    directories = [store.add(record).path for record in records]
    command = [sys.executable, "-c", HOLD_ALL, *directories]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as workers:
        assert workers.stdout is not None
        workers.stdout.readline()
        host.start()
        host.until(lambda: "Starting version" in host.log_text(), "the agent to start")
        for number in (2, 3):  # each needs several turns of the loop
            host.write_config(max_revisions=number)
            host.until(lambda n=number: host.log_text().count("max_revisions") == n - 1, "the reload")
        assert service.calls == []
        shutil.rmtree(store.directory)
        workers.communicate()
    service.wait_for(lambda: service.of("PollHostCommand"), "a poll")


# A supervisor whose background thread never comes back from what was asked.
STUCK = """
import sys, threading
from agent.daemon import supervisor
from agent.daemon.startup_state import start_reading, read_startup_state
supervisor.POLL_GRACE = 0.3
agent = supervisor.Supervisor(read_startup_state(start_reading(sys.argv[1])), sys.argv[1], supervisor_lock="")
agent._poller.background.start("poll", threading.Event().wait)
agent.run()
"""


def test_systemd_hears_nothing_more_of_an_agent_whose_poll_is_stuck(host: AgentHost) -> None:
    host.write_config(http_read_timeout=0.1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(host.directory / "notify"))
        systemd.settimeout(1)
        environment = {**os.environ, **host.environment, "NOTIFY_SOCKET": systemd.getsockname()}
        environment |= {"WATCHDOG_USEC": "100000"}
        with subprocess.Popen([sys.executable, "-c", STUCK, str(host.config)], env=environment) as agent:
            try:
                assert "READY=1" in _until_ready(systemd)[-1]
                guard = Guard()
                fed = True
                while fed and not guard.has_hung:
                    agent.send_signal(signal.SIGHUP)
                    fed = "WATCHDOG=1" in _until_ready(systemd)  # the loop turns all the same
                assert not fed
            finally:
                agent.kill()


def _until_status(systemd: socket.socket, pattern: str) -> None:
    """Wait for a status line that systemd would show."""
    heard = ""
    while not re.search(f"^STATUS={pattern}$", heard, re.MULTILINE):
        heard = systemd.recv(4096).decode()


def test_systemd_shows_what_the_agent_does_and_no_problem_that_is_over(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    script = f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 3"
    source = revision(tmp_path / "rev", {"BeforeInstall": script}, to=tmp_path / "out")
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    right = host.config.read_text()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(host.directory / "notify"))
        systemd.settimeout(60)
        host.environment |= {"NOTIFY_SOCKET": systemd.getsockname()}
        host.start()
        _until_status(systemd, "Polling")
        deploy(service, specification(source), ["DownloadBundle"])
        service.add("BeforeInstall", specification(source))
        running = rf"BeforeInstall of deployment d-1 \(Group\) runs since {stamp}"
        _until_status(systemd, rf"{running}; last outcome: DownloadBundle of deployment d-1 succeeded at {stamp}")
        host.config.write_text(f"{right}max_revisions: several\n")
        _until_status(systemd, rf"{running}; Problem since {stamp}: .*max_revisions is 'several'.*")
        host.config.write_text(right)
        _until_status(systemd, rf"{running}; last outcome: .*")
        (tmp_path / "go").touch()
        _until_status(systemd, rf"Polling; last outcome: BeforeInstall of deployment d-1 failed at {stamp}")


def _until_ready(systemd: socket.socket) -> list[str]:
    """What the agent says until it is ready (again)."""
    heard: list[str] = []
    guard = Guard()
    while not (heard and "READY=1" in heard[-1]):
        with contextlib.suppress(TimeoutError):
            heard.append(systemd.recv(4096).decode())
        assert not guard.has_hung, heard
    return heard
