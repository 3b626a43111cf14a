"""What the sandbox refuses, as the real services do: an agent that gets something wrong must find out here."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from host_agent_stub import SUCCESS, HostAgentStub, Reply
from sandbox_scene import Scene
from sandbox_server import SandboxServer


@pytest.fixture
def host(scene: Scene) -> HostAgentStub:
    return scene.host()


def poll(host: HostAgentStub, **changes: Any) -> Reply:
    return host.call("PollHostCommand", {"HostIdentifier": host.host_identifier}, **changes)


def test_a_proper_poll_without_a_command_is_answered_with_nothing(host: HostAgentStub) -> None:
    assert poll(host) == Reply(200, {})


def test_a_wrong_secret_is_refused(host: HostAgentStub) -> None:
    host.credentials = Credentials(host.credentials.access_key, "not the secret")
    assert poll(host).fault == "InvalidSignatureException"


def test_an_unknown_key_is_refused(host: HostAgentStub) -> None:
    host.credentials = Credentials("AKIAAAAAAAAAAAAAAAAA", "no secret")
    assert poll(host).fault == "UnrecognizedClientException"


def test_a_key_that_was_made_inactive_is_refused(host: HostAgentStub, sandbox: SandboxServer) -> None:
    user = host.host_identifier.rsplit("/", 1)[-1]
    sandbox.client("iam").update_access_key(UserName=user, AccessKeyId=host.credentials.access_key, Status="Inactive")
    assert poll(host).fault == "UnrecognizedClientException"


@pytest.mark.parametrize(("clock", "said"), [(-400, "Signature expired"), (400, "Signature not yet current")])
def test_a_clock_that_is_wrong_is_named(host: HostAgentStub, clock: float, said: str) -> None:
    reply = poll(host, clock=clock)
    assert reply.fault == "InvalidSignatureException"
    assert said in reply.body["message"]


def test_a_clock_that_is_a_little_off_does_no_harm(host: HostAgentStub) -> None:
    assert poll(host, clock=-200).status == 200


def test_a_body_that_was_changed_on_the_way_is_refused(host: HostAgentStub) -> None:
    assert poll(host, sent_body=b'{"HostIdentifier": "someone"}').fault == "InvalidSignatureException"


def test_a_header_that_was_added_on_the_way_is_refused(host: HostAgentStub) -> None:
    body = json.dumps({"HostIdentifier": host.host_identifier}).encode()
    headers = host.signed_headers("PollHostCommand", body, headers={"x-amz-codedeploy-agent-version": None})
    reply = host.send(body, {**headers, "x-amz-codedeploy-agent-version": "2.1.0"})
    assert reply.fault == "InvalidSignatureException"


def test_another_services_signing_name_is_refused(host: HostAgentStub) -> None:
    assert poll(host, service="codedeploy").fault == "InvalidSignatureException"


def test_another_region_is_refused(host: HostAgentStub) -> None:
    host.region = "eu-central-1"
    assert poll(host).fault == "InvalidSignatureException"


def test_the_secure_endpoint_has_its_own_signing_name(host: HostAgentStub) -> None:
    secure = {"service": "codedeploy-commands-secure", "prefix": "CodeDeployCommandService"}
    assert poll(host, **secure).status == 200
    assert poll(host, prefix="CodeDeployCommandService").fault == "InvalidSignatureException"


def test_a_request_without_a_signature_is_refused(host: HostAgentStub) -> None:
    body = json.dumps({"HostIdentifier": host.host_identifier}).encode()
    headers = host.signed_headers("PollHostCommand", body)
    del headers["Authorization"]
    assert host.send(body, headers).fault == "MissingAuthenticationTokenException"


@pytest.mark.parametrize("version", [None, "1.5.9", "OFFICIAL_1.3.2-1902_rpm"])
def test_an_agent_without_a_version_or_too_old_is_refused(host: HostAgentStub, version: str | None) -> None:
    assert poll(host, headers={"x-amz-codedeploy-agent-version": version}).fault == "ClientException"


def test_another_content_type_is_refused(host: HostAgentStub) -> None:
    assert poll(host, headers={"Content-Type": "application/json"}).fault == "SerializationException"


def test_input_that_the_model_does_not_know_is_refused(host: HostAgentStub) -> None:
    assert host.call("PollHostCommand", {}).fault == "ClientException"
    unknown = {"HostIdentifier": host.host_identifier, "Unknown": 1}
    assert host.call("PollHostCommand", unknown).fault == "ClientException"
    assert host.call("NoOperation", {}).fault == "UnknownOperationException"


def test_a_host_may_not_poll_for_another(scene: Scene, host: HostAgentStub) -> None:
    other = scene.host()
    host.host_identifier = other.host_identifier
    assert poll(host).fault == "AccessDeniedException"


def test_a_host_may_not_touch_another_hosts_command(scene: Scene, host: HostAgentStub) -> None:
    other = scene.host()
    scene.group()
    scene.deploy()
    command = other.poll()
    assert command is not None
    assert host.specification(command).fault == "ClientException"
    assert host.acknowledge(command).fault == "ClientException"
    assert host.complete(command).fault == "ClientException"


def test_a_host_may_not_deploy_nor_make_itself_another_key(host: HostAgentStub, sandbox: SandboxServer) -> None:
    keys = {"AccessKeyId": host.credentials.access_key, "SecretAccessKey": host.credentials.secret_key}
    with pytest.raises(ClientError, match="AccessDenied"):
        sandbox.client("codedeploy", keys=keys).list_applications()
    with pytest.raises(ClientError, match="AccessDenied"):
        sandbox.client("iam", keys=keys).create_access_key(UserName="sandbox")
    with pytest.raises(ClientError, match="AccessDenied"):
        sandbox.client("s3", keys=keys).create_bucket(Bucket="taken-over")
    sts = sandbox.client("sts", keys=keys)
    with pytest.raises(ClientError, match="AccessDenied"):
        sts.assume_role(RoleArn=f"arn:aws:iam::{sandbox.account}:role/administrator", RoleSessionName="taken-over")
    assert sts.get_caller_identity()["Arn"] == host.host_identifier


def test_nobody_without_the_key_reaches_motos_services(sandbox: SandboxServer) -> None:
    wrong = {"AccessKeyId": sandbox.description["access_key_id"], "SecretAccessKey": "guessed"}
    with pytest.raises(ClientError, match="InvalidSignature"):
        sandbox.client("s3", keys=wrong).list_buckets()
    with pytest.raises(ClientError, match="InvalidSignature"):
        sandbox.client("iam", keys=wrong).create_user(UserName="intruder")
    for method, path in (("POST", "/moto-api/reset"), ("GET", "/_sandbox/journal"), ("GET", "/bucket/key")):
        connection = http.client.HTTPConnection(urlsplit(sandbox.url).netloc)
        connection.request(method, path)
        assert connection.getresponse().status == 403
        connection.close()


def test_a_sessions_token_is_checked(scene: Scene) -> None:
    host = scene.host(session=True)
    assert poll(host).status == 200
    host.credentials.token = "another token"
    assert poll(host).fault == "UnrecognizedClientException"


def test_a_command_ends_once_and_the_second_result_is_on_record(scene: Scene, host: HostAgentStub) -> None:
    scene.group()
    deployment = scene.deploy()
    command = host.poll()
    assert command is not None
    host.acknowledge(command)
    assert host.complete(command).status == 200
    failed = {"error_code": 5, "script_name": "", "message": "no", "log": ""}
    assert host.complete(command, failed).fault == "ClientException"
    (events,) = scene.sandbox.events(deployment).values()
    assert events["ApplicationStop"] == "Succeeded"
    calls = scene.sandbox.journal("PutHostCommandComplete")
    about = [one for one in calls if one["input"]["HostCommandIdentifier"] == command["HostCommandIdentifier"]]
    assert [one.get("error") for one in about] == [None, "ClientException"]


@pytest.mark.parametrize(
    "payload",
    [
        {"error_code": 0, "script_name": "", "message": ""},
        {**SUCCESS, "more": 1},
        {**SUCCESS, "error_code": "0"},
        {**SUCCESS, "log": "x" * 8192},
    ],
    ids=["a key is missing", "a key too many", "a text for a number", "too long"],
)
def test_a_malformed_result_is_refused_and_the_command_stays_open(
    scene: Scene, host: HostAgentStub, payload: dict[str, Any]
) -> None:
    scene.group()
    scene.deploy()
    command = host.poll()
    assert command is not None
    assert host.complete(command, payload).fault == "ClientException"
    assert host.complete(command).status == 200


def test_an_acknowledgement_without_its_diagnostics_is_refused(scene: Scene, host: HostAgentStub) -> None:
    scene.group()
    scene.deploy()
    command = host.poll()
    assert command is not None
    members = {"HostCommandIdentifier": command["HostCommandIdentifier"]}
    assert host.call("PutHostCommandAcknowledgement", members).fault == "ClientException"


def test_a_command_that_was_handed_out_in_vain_is_handed_out_again(scene: Scene, host: HostAgentStub) -> None:
    scene.group()
    scene.deploy()
    first = host.poll()
    before = scene.sandbox.control("GET", "limits")
    try:
        scene.sandbox.set_limits(redelivery=0)
        assert host.poll() == first
        assert first is not None
        host.acknowledge(first)
        assert host.poll() is None
    finally:
        scene.sandbox.set_limits(**before)


def test_a_fault_by_request_happens_as_often_as_it_was_asked_for(sandbox: SandboxServer, host: HostAgentStub) -> None:
    sandbox.add_fault("PollHostCommand", "throttle", times=2)
    sandbox.add_fault("PollHostCommand", "hang-up")
    assert [poll(host).fault for _ in range(2)] == ["ThrottlingException"] * 2
    with pytest.raises(http.client.RemoteDisconnected):
        poll(host)
    assert poll(host).status == 200


def test_a_result_whose_answer_was_lost_counts_and_comes_once(scene: Scene, host: HostAgentStub) -> None:
    scene.group()
    scene.deploy()
    command = host.poll()
    assert command is not None
    scene.sandbox.add_fault("PutHostCommandComplete", "lose-answer")
    with pytest.raises(http.client.RemoteDisconnected):
        host.complete(command)
    assert host.complete(command).fault == "ClientException"
    following = host.poll()
    assert following is not None
    assert following["CommandName"] == "DownloadBundle"


def test_a_bucket_with_a_name_of_the_metadata_service_is_a_bucket(sandbox: SandboxServer) -> None:
    sandbox.upload("latest", "release.txt", b"content")
    s3 = sandbox.client("s3")
    assert s3.get_object(Bucket="latest", Key="release.txt")["Body"].read() == b"content"


def test_metadata_speaks_for_running_instances_only(sandbox: SandboxServer) -> None:
    with pytest.raises(AssertionError, match="No EC2 instance"):
        sandbox.control("PUT", "metadata", {"instance_id": "i-00000000000000000"})


def test_an_instances_role_may_not_deploy(sandbox: SandboxServer) -> None:
    role = f"arn:aws:iam::{sandbox.account}:role/host-role"
    keys = sandbox.client("sts").assume_role(RoleArn=role, RoleSessionName="i-0123456789abcdef0")["Credentials"]
    with pytest.raises(ClientError, match="AccessDenied"):
        sandbox.client("codedeploy", keys=keys).list_applications()
    people = sandbox.client("sts").assume_role(RoleArn=role, RoleSessionName="alice")["Credentials"]
    assert "applications" in sandbox.client("codedeploy", keys=people).list_applications()
