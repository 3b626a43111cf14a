"""The rules of a deployment, without any wire."""

from __future__ import annotations

import threading

import pytest

from agent.sandbox.engine.records import Limits
from agent.sandbox.errors import RefusedError
from engine_box import FAILURE, SUCCESS, EngineBox

ROLLBACK = {"autoRollbackConfiguration": {"enabled": True, "events": ["DEPLOYMENT_FAILURE"]}}


def test_the_next_command_is_ready_the_moment_the_last_result_is_in() -> None:
    box = EngineBox()
    box.deploy()
    assert box.do() == "ApplicationStop"
    following = box.poll()
    assert following is not None
    assert following.event.name == "DownloadBundle"


def test_a_host_that_waits_is_woken_by_a_deployment() -> None:
    box = EngineBox()
    found = []
    waiting = threading.Thread(target=lambda: found.append(box.engine.poll(box.hosts[0], seconds=50)), daemon=True)
    waiting.start()
    box.deploy()
    box.engine.ring()
    waiting.join()
    assert found[0].event.name == "ApplicationStop"


def test_a_host_that_has_hung_up_is_handed_nothing() -> None:
    box = EngineBox()
    box.deploy()
    assert box.engine.poll(box.hosts[0], seconds=0, listening=lambda: False) is None
    assert box.poll() is not None


def test_a_command_is_handed_out_again_until_it_is_acknowledged() -> None:
    box = EngineBox()
    box.deploy()
    first = box.poll()
    assert first is not None
    assert box.poll() is None
    box.now += box.engine.limits.redelivery
    assert box.poll() is first
    box.engine.acknowledge(first.identifier, box.hosts[0], noop=False)
    box.now += box.engine.limits.redelivery
    assert box.poll() is None


def test_a_second_result_changes_nothing() -> None:
    box = EngineBox()
    deployment = box.deploy()
    command = box.poll()
    assert command is not None
    box.engine.complete(command.identifier, box.hosts[0], succeeded=True, payload=SUCCESS)
    with pytest.raises(RefusedError):
        box.engine.complete(command.identifier, box.hosts[0], succeeded=False, payload=FAILURE)
    assert deployment.targets[0].events[0].status == "Succeeded"


@pytest.mark.parametrize("answer", ["InProgress", "Failed"])
def test_a_no_op_that_the_service_does_not_close_waits_for_its_result(answer: str) -> None:
    box = EngineBox()
    box.engine.limits = Limits(noop_answer=answer)
    box.deploy()
    command = box.poll()
    assert command is not None
    assert box.engine.acknowledge(command.identifier, box.hosts[0], noop=True) == answer
    box.engine.complete(command.identifier, box.hosts[0], succeeded=True, payload=SUCCESS)
    assert command.status == "Succeeded"


def test_a_host_that_does_not_report_fails_at_the_limit_and_its_late_result_is_refused() -> None:
    box = EngineBox()
    deployment = box.deploy()
    command = box.poll()
    assert command is not None
    box.engine.acknowledge(command.identifier, box.hosts[0], noop=False)
    box.now += box.engine.limits.event
    box.engine.tick()
    assert deployment.status == "InProgress"
    box.now += 1
    box.engine.tick()
    assert deployment.status == "Failed"
    with pytest.raises(RefusedError):
        box.engine.complete(command.identifier, box.hosts[0], succeeded=True, payload=SUCCESS)


def test_a_failed_stop_of_the_old_revision_can_be_ignored() -> None:
    box = EngineBox()
    deployment = box.deploy(ignoreApplicationStopFailures=True)
    assert len(box.finish(fail_at="ApplicationStop")) == 7
    assert deployment.status == "Succeeded"
    assert deployment.targets[0].events[0].status == "Failed"
    again = box.deploy()
    assert box.finish(fail_at="ApplicationStop") == ["ApplicationStop"]
    assert again.status == "Failed"


def test_a_failure_without_an_earlier_success_is_not_rolled_back_and_says_so() -> None:
    box = EngineBox(**ROLLBACK)
    deployment = box.deploy()
    box.finish(fail_at="Install")
    assert deployment.status == "Failed"
    assert "nothing to roll back" in deployment.rollback_info["rollbackMessage"]
    assert list(box.engine.deployments.all) == [deployment.deployment_id]


def test_a_rollback_that_fails_is_not_rolled_back() -> None:
    box = EngineBox(**ROLLBACK)
    box.deploy("v1.zip")
    box.finish()
    failed = box.deploy("v2.zip")
    box.finish(fail_at="Install")  # of both: the rollback begins as soon as the deployment has failed
    rollback = box.engine.deployments.find(failed.rollback_info["rollbackDeploymentId"])
    assert rollback.revision["s3Location"]["key"] == "v1.zip"
    assert (failed.status, rollback.status) == ("Failed", "Failed")
    assert len(box.engine.deployments.all) == 3


def test_a_deployments_own_rollback_settings_win_over_the_groups() -> None:
    box = EngineBox(**ROLLBACK)
    box.deploy("v1.zip")
    box.finish()
    failed = box.deploy("v2.zip", autoRollbackConfiguration={"enabled": False})
    box.finish(fail_at="Install")
    assert failed.rollback_info == {}


def test_a_stop_with_a_rollback_brings_back_the_last_revision() -> None:
    box = EngineBox()
    box.deploy("v1.zip")
    box.finish()
    stopped = box.deploy("v2.zip")
    box.do()
    assert box.engine.deployments.stop(stopped, True)
    assert stopped.status == "Stopped"
    rollback = box.engine.deployments.find(stopped.rollback_info["rollbackDeploymentId"])
    assert (rollback.creator, rollback.status) == ("codeDeployRollback", "InProgress")


def test_a_group_has_one_deployment_at_a_time() -> None:
    box = EngineBox()
    box.deploy()
    with pytest.raises(RefusedError) as refused:
        box.deploy()
    assert refused.value.fault == "DeploymentLimitExceededException"


def test_one_host_at_a_time_goes_on_when_the_host_is_done() -> None:
    box = EngineBox(3, deploymentConfigName="CodeDeployDefault.OneAtATime")
    deployment = box.deploy()
    assert (box.poll(1), box.poll(2)) == (None, None)
    box.finish(0)
    assert box.poll(2) is None
    box.finish(1)
    box.finish(2, fail_at="Install")
    assert deployment.status == "Succeeded"


def test_a_group_without_hosts_fails_at_once() -> None:
    deployment = EngineBox(0).deploy()
    assert deployment.status == "Failed"
    assert deployment.error is not None
    assert deployment.error["code"] == "NO_INSTANCES"


def test_more_healthy_hosts_than_there_are_cannot_be_kept() -> None:
    box = EngineBox(2)
    box.engine.catalogue.create_config("three", {"type": "HOST_COUNT", "value": 3})
    deployment = box.deploy(deploymentConfigName="three")
    assert deployment.error is not None
    assert deployment.error["code"] == "HEALTH_CONSTRAINTS_INVALID"
    assert box.poll() is None


def test_outdated_hosts_only_are_those_that_lack_the_revision() -> None:
    box = EngineBox(2)
    box.deploy("v1.zip")
    box.finish(0)
    box.finish(1, fail_at="Install")
    deployment = box.deploy("v1.zip", updateOutdatedInstancesOnly=True)
    assert [target.target_id for target in deployment.targets] == ["host-1"]


def test_a_restart_needs_a_success_and_takes_no_revision() -> None:
    box = EngineBox()
    with pytest.raises(RefusedError):
        box.deploy(None, deploymentMode="RESTART")
    first = box.deploy("v1.zip")
    box.finish()
    with pytest.raises(RefusedError):
        box.deploy("v1.zip", deploymentMode="RESTART")
    restart = box.deploy(None, deploymentMode="RESTART")
    assert (restart.revision, restart.reuse_archive_from) == (first.revision, first.deployment_id)


def test_a_host_that_was_deregistered_gets_no_deployment_and_may_come_back() -> None:
    box = EngineBox()
    box.engine.hosts.deregister("host-0")
    assert box.deploy().targets == []
    box.engine.hosts.register("host-0", user_arn=box.hosts[0], session_arn=None).tags["Role"] = "web"
    assert len(box.deploy().targets) == 1
    with pytest.raises(RefusedError):
        box.engine.hosts.register("other", user_arn=box.hosts[0], session_arn=None)


@pytest.mark.parametrize(
    "revision",
    [
        {"revisionType": "S3", "s3Location": {"bucket": "b", "key": "k"}},
        {"revisionType": "S3", "s3Location": {"bucket": "b", "key": "k", "bundleType": "YAML"}},
        {"revisionType": "GitHub", "gitHubLocation": {"repository": "no-account", "commitId": "0" * 40}},
        {"revisionType": "String"},
    ],
)
def test_a_revision_that_no_host_could_fetch_is_refused(revision: dict[str, object]) -> None:
    with pytest.raises(RefusedError) as refused:
        EngineBox().deploy(None, revision=revision)
    assert refused.value.fault == "InvalidRevisionException"
