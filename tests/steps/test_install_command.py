import logging
import os
from pathlib import Path

import pytest

from agent.appspec.parse import parse
from agent.deployment.lifecycle import BY_NAME
from agent.errors import AppSpecError, SpecificationError
from agent.steps.execute import execute
from agent.steps.install_command import check_events
from agent_host import revision, specification
from command_service import command_service
from revisions import content, hooks
from worker_runs import WorkerHost

STANDARD = tuple(BY_NAME)


def appspec(**events):
    return parse(("version: 0.0\nos: linux\n" + hooks(**events)).encode(), filename="appspec.yml")


def test_an_event_that_can_never_run_is_named_with_its_line_and_what_was_meant():
    with pytest.raises(AppSpecError) as caught:
        check_events(appspec(AfterInstall="a", AfterInstal="b", Bogus="c"), STANDARD)
    first, second = caught.value.problems
    assert (first.column, second.column) == (3, 3)
    assert (first.line, "AfterInstal" in first.message, "AfterInstall" in first.remedy) == (6, True, True)
    assert (second.line, "Bogus" in second.message) == (8, True)


def test_a_custom_event_needs_its_scripts():
    with pytest.raises(SpecificationError, match="Bogus"):
        check_events(appspec(AfterInstall="a"), (*STANDARD, "Bogus"))
    check_events(appspec(Bogus="a"), (*STANDARD, "Bogus"))


def test_without_a_list_of_events_nothing_is_compared():
    check_events(appspec(Bogus="a"), None)


def test_an_unknown_event_fails_install_before_the_host_is_touched(bench):
    bench.unpacked(
        "d-1", {"app/f": "x"}, appspec=f"files: [{{source: app, destination: {bench.destination}}}]\n" + hooks(B="a")
    )
    outcome = execute("Install", bench.spec("d-1", all_possible_lifecycle_events=STANDARD), bench.host)
    assert not outcome.succeeded
    assert not os.path.exists(bench.destination)
    assert not os.path.exists(bench.layout.cleanup("g"))


def test_an_event_that_the_service_never_asks_for_is_named_in_every_log(bench, caplog):
    bench.unpacked(
        "d-1",
        {"app/f": "x"},
        appspec=f"files: [{{source: app, destination: {bench.destination}}}]\n" + hooks(AfterInstal="a", Start="b"),
    )
    with caplog.at_level(logging.WARNING, logger="agent"):
        outcome = execute("Install", bench.spec("d-1"), bench.host)
    warning = (
        "appspec.yml:5:3: The lifecycle event 'AfterInstal' is unknown, so its scripts never run."
        " Did you mean 'AfterInstall'?"
    )
    assert outcome.succeeded
    assert outcome.message == f"Succeeded: Warning: {warning}"
    assert warning in caplog.messages
    script_log = Path(bench.layout.script_log(bench.layout.deployment("g", "d-1"))).read_text()
    assert script_log.endswith(f" Warning - {warning}\n")
    assert script_log.count("\n") == 1


def test_a_conflict_says_first_what_in_the_appspec_has_led_to_it(bench):
    destination = f"{bench.destination}/web.conf"
    os.makedirs(os.path.dirname(destination))
    Path(destination).write_text("of another origin")
    entry = f"{{source: web.conf, destination: {destination}, overwrite: yes}}"
    bench.unpacked("d-1", {"web.conf": "x"}, appspec=f"files: [{entry}]\n")
    lines = execute("Install", bench.spec("d-1"), bench.host).message.splitlines()
    assert "A destination is the directory that a file goes into" in lines[0]
    assert "Write 'file_exists_behavior: OVERWRITE' at the top level" in lines[1]
    assert destination in lines[2]


def test_install_puts_the_files_there_and_remembers_its_success(bench):
    directory = bench.unpacked(
        "d-1", {"app/f": "x"}, appspec=f"files: [{{source: app, destination: {bench.destination}}}]\n"
    )
    assert execute("Install", bench.spec("d-1"), bench.host).succeeded
    assert os.listdir(bench.destination) == ["f"]
    with open(bench.layout.last_successful("g")) as file:
        assert file.read() == directory
    assert bench.observer.steps[-1][2] == "files"


def test_a_conflict_is_the_outcome_and_changes_nothing(bench):
    os.makedirs(bench.destination)
    with open(f"{bench.destination}/f", "w") as file:
        file.write("foreign")
    bench.unpacked("d-1", {"app/f": "x"}, appspec=f"files: [{{source: app, destination: {bench.destination}}}]\n")
    outcome = execute("Install", bench.spec("d-1"), bench.host)
    assert outcome.error_code == 5
    assert f"{bench.destination}/f" in outcome.message
    assert content(f"{bench.destination}/f") == "foreign"
    assert not os.path.exists(bench.layout.last_successful("g"))


def test_a_deployment_that_names_a_missing_appspec_does_not_deploy_another_one(bench):
    bench.unpacked("d-1", {})
    outcome = execute("Install", bench.spec("d-1", appspec_filename="other.yml"), bench.host)
    assert (outcome.succeeded, "holds no AppSpec file other.yml, but appspec.yml" in outcome.message) == (False, True)


def test_what_an_install_could_not_do_after_its_commit_is_done_before_the_next_command(tmp_path):
    with command_service() as service:
        host = WorkerHost(str(tmp_path / "host"), service)
        desired = specification(revision(tmp_path / "one", {}, to=tmp_path / "out"))
        pointer, journal = host.layout.last_successful("group-1"), host.layout.journal("group-1")
        host.work(host.take_on("DownloadBundle", desired))
        os.makedirs(f"{pointer}/in the way")
        host.work(host.take_on("Install", desired))
        assert [service.completion(f"command-000{number}")["status"] for number in (1, 2)] == ["Succeeded"] * 2
        assert os.path.exists(journal)
        os.rmdir(f"{pointer}/in the way")
        os.rmdir(pointer)
        host.work(host.take_on("ApplicationStop", {**desired, "DeploymentId": "d-2"}))
    assert content(pointer) == host.layout.deployment("group-1", "d-1")
    assert not os.path.exists(journal)
