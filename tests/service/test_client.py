"""The command service's client, against a server over the wire that can do wrong."""

from __future__ import annotations

import json
import os
import threading

import botocore.session
import pytest
from botocore.config import Config

from agent.network.credentials import Credentials
from agent.network.http import HttpClient, NetworkError, NetworkReason
from agent.service.client import AGENT_VERSION, CommandService, DeploymentEnvelope, HostCommand
from agent.service.endpoint import EndpointOptions, endpoint_for
from agent.service.errors import ProtocolError, ServiceError, ServiceErrorKind
from agent.service.shapes import load_model
from agent.service.throttle import ThrottleGate
from wire_server import JSON, Answer, running_server

HOST = "arn:aws:ec2:eu-central-1:123456789012:instance/i-0123456789abcdef0"
COMMAND = {
    "HostCommandIdentifier": "hc-1",
    "HostIdentifier": HOST,
    "DeploymentExecutionId": "a/b/c/d",
    "CommandName": "Install",
    "Nonce": 4,
}
KEYS = Credentials("AKIDEXAMPLE", "secret", "token")


@pytest.fixture
def server():
    with running_server() as running:
        yield running


@pytest.fixture
def http():
    made = HttpClient()
    yield made
    made.close()


@pytest.fixture
def service(server, http):
    return client_of(server, http)


def client_of(server, http, *, secure=False, **options):
    endpoint = endpoint_for(EndpointOptions("eu-central-1", override=server.url, secure=secure))
    return CommandService(endpoint, credentials=lambda: KEYS, http=http, **options)


def reply(value):
    return Answer(headers=JSON, body=json.dumps(value).encode())


def refusal(code, status=400, message="why"):
    return Answer(status, JSON, json.dumps({"__type": code, "message": message}).encode())


def test_a_command_comes_with_everything_that_is_needed_to_do_it(server, service):
    server.will(reply({"HostCommand": COMMAND}))
    assert service.poll(HOST) == HostCommand("hc-1", HOST, "a/b/c/d", "Install")
    request = server.requests[0]
    assert (request.method, request.target) == ("POST", "/")
    assert request.body == b'{"HostIdentifier":"' + HOST.encode() + b'"}'
    assert request.headers["content-type"] == "application/x-amz-json-1.1"
    assert request.headers["x-amz-target"] == "CodeDeployCommandService_v20141006.PollHostCommand"
    assert request.headers["x-amz-codedeploy-agent-version"] == AGENT_VERSION == "2.1.0"
    assert request.headers["x-amz-security-token"] == "token"
    signed = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    assert signed == (
        "content-type;host;x-amz-codedeploy-agent-version;x-amz-content-sha256;x-amz-date;x-amz-security-token;"
        "x-amz-target"
    )


@pytest.mark.parametrize("body", [b"{}", b"", b'{"HostCommand":null}'])
def test_nothing_to_do_is_no_error(server, service, body):
    server.will(Answer(headers=JSON, body=body))
    assert service.poll(HOST) is None


@pytest.mark.parametrize("part", ["instance/i-0123456789abcdef0", HOST, "i-0123456789abcdef0"])
def test_a_command_for_a_part_of_our_name_is_ours(server, service, part):
    server.will(reply({"HostCommand": {**COMMAND, "HostIdentifier": part}}))
    assert service.poll(HOST).host_identifier == part


@pytest.mark.parametrize("other", ["arn:aws:iam::1:user/other", HOST + "1", HOST.upper()])
def test_a_command_for_another_host_is_not_executed(server, service, other):
    server.will(reply({"HostCommand": {**COMMAND, "HostIdentifier": other}}))
    with pytest.raises(ProtocolError, match="this host is") as caught:
        service.poll(HOST)
    assert caught.value.kind is ServiceErrorKind.PROTOCOL


@pytest.mark.parametrize("member", ["HostCommandIdentifier", "HostIdentifier", "DeploymentExecutionId", "CommandName"])
@pytest.mark.parametrize("value", ["", None, "x" * 1025, "a\nb", "\x1b[2J"])
def test_a_command_that_lacks_something_is_not_executed(server, service, member, value):
    server.will(reply({"HostCommand": {**COMMAND, member: value}}))
    with pytest.raises(ProtocolError) as caught:
        service.poll(HOST)
    assert member in str(caught.value)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "ask", [lambda service: service.poll(HOST), lambda service: service.specification("a/b", HOST)]
)
@pytest.mark.parametrize("at_once", [0, 20, 120])
def test_a_service_that_drips_its_answer_does_not_hold_the_agent_for_ever(server, http, ask, at_once):
    server.will(reply({"Padding": "x" * 400})._replace(drip=at_once))
    with pytest.raises(NetworkError) as caught:
        ask(client_of(server, http, read_timeout=0.3))
    assert caught.value.reason is NetworkReason.TIMEOUT


def test_a_specification_comes_in_its_envelope(server, service):
    envelope = {"Format": "PKCS7/JSON", "Payload": "-----BEGIN PKCS7-----"}
    system = {"DeploymentSystem": "CodeDeploy", "DeploymentSpecification": {"GenericEnvelope": envelope}}
    server.will(reply(system))
    assert service.specification("a/b", HOST) == DeploymentEnvelope("CodeDeploy", *envelope.values())
    assert server.requests[0].body == f'{{"DeploymentExecutionId":"a/b","HostIdentifier":"{HOST}"}}'.encode()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "of the system ''"),
        ({"DeploymentSystem": "Other"}, "of the system 'Other'"),
        ({"DeploymentSystem": "CodeDeploy"}, "no deployment specification"),
        ({"DeploymentSystem": "CodeDeploy", "DeploymentSpecification": None}, "no deployment specification"),
        (
            {"DeploymentSystem": "CodeDeploy", "DeploymentSpecification": {"VariantId": "x"}},
            "no deployment specification",
        ),
        (
            {"DeploymentSystem": "CodeDeploy", "DeploymentSpecification": {"GenericEnvelope": {"Format": "TEXT/JSON"}}},
            "no deployment specification",
        ),
        ({"DeploymentSystem": "CodeDeploy", "DeploymentSpecification": []}, "not a JSON object"),
    ],
)
def test_a_specification_that_is_none_is_refused(server, service, value, said):
    server.will(reply(value))
    with pytest.raises(ProtocolError, match=said):
        service.specification("a/b", HOST)


@pytest.mark.parametrize(("noop", "text"), [(True, "true"), (False, "false")])
@pytest.mark.parametrize(("value", "status"), [({"CommandStatus": "InProgress"}, "InProgress"), ({}, "")])
def test_an_acknowledgement_brings_the_state_of_the_command(server, service, noop, text, value, status):
    server.will(reply(value))
    assert service.acknowledge("hc-1", is_noop=noop) == status
    payload = f'{{\\"IsCommandNoop\\":{text}}}'
    expected = f'{{"Diagnostics":{{"Format":"JSON","Payload":"{payload}"}},"HostCommandIdentifier":"hc-1"}}'
    assert server.requests[0].body.decode() == expected


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"Unknown": 1}'])
def test_a_completion_needs_no_answer(server, service, body):
    server.will(Answer(body=body))
    service.complete("hc-1", status="Failed", payload='{"error_code":4}')
    assert json.loads(server.requests[0].body) == {
        "CommandStatus": "Failed",
        "Diagnostics": {"Format": "JSON", "Payload": '{"error_code":4}'},
        "HostCommandIdentifier": "hc-1",
    }


def test_a_payload_that_the_service_would_refuse_is_not_sent(server, service):
    with pytest.raises(ProtocolError, match="8192"):
        service.complete("hc-1", status="Failed", payload="x" * 8193)
    assert server.requests == []


def test_a_refusal_is_raised_with_the_words_of_the_service_and_not_repeated(server, service):
    server.will(refusal("ClientException", message="no such deployment"))
    with pytest.raises(ServiceError, match="no such deployment") as caught:
        service.specification("a/b", HOST)
    assert caught.value.kind is ServiceErrorKind.CLIENT
    assert caught.value.service_message == "no such deployment"
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"<html>welcome to the portal</html>", b"[1]"])
def test_a_page_of_a_portal_is_not_taken_for_an_empty_poll(server, service, body):
    server.will(Answer(body=body))
    with pytest.raises(ProtocolError) as caught:
        service.poll(HOST)
    assert "proxy" in caught.value.remedy


def test_an_answer_without_end_is_refused(server, service):
    server.will(Answer(body=b" " * (1 << 20) + b"{}"))
    with pytest.raises(NetworkError) as caught:
        service.poll(HOST)
    assert caught.value.reason is NetworkReason.TOO_LARGE


def test_a_short_answer_is_not_taken_for_an_empty_one(server, service):
    server.will(Answer(body=b'{"HostCommand":null}', cut=0))
    with pytest.raises(NetworkError) as caught:
        service.poll(HOST)
    assert caught.value.reason is NetworkReason.BROKEN


def test_a_poll_that_is_held_open_ends_with_its_limit(server, http):
    release = threading.Event()
    server.will(Answer(wait=release))
    with pytest.raises(NetworkError) as caught:
        client_of(server, http, read_timeout=0.05).poll(HOST)
    release.set()
    assert caught.value.reason is NetworkReason.TIMEOUT


def test_a_service_that_throttles_is_asked_more_and_more_slowly_until_it_answers(server, http):
    pauses = []
    now = [0.0]

    def sleep(seconds):
        pauses.append(seconds)
        now[0] += seconds

    gate = ThrottleGate(None, sleep=sleep, clock=lambda: now[0], random=lambda: 0.0)
    service = client_of(server, http, gate=gate)
    server.will(refusal("ThrottlingException"), Answer(429), refusal("X", message="Rate exceeded"), Answer())
    for _ in range(3):
        with pytest.raises(ServiceError) as caught:
            service.complete("hc-1", status="Succeeded", payload="{}")
        assert caught.value.kind is ServiceErrorKind.THROTTLED
    service.complete("hc-1", status="Succeeded", payload="{}")
    assert pauses == pytest.approx([0.3, 0.6, 1.2])
    assert gate.remaining() == 0
    gate.throttled()
    assert gate.remaining() == pytest.approx(0.3)  # it has forgotten the longer delays


def test_credentials_that_were_renewed_are_used_at_once(server, http):
    keys = iter([Credentials("OLD", "s"), Credentials("NEW", "s")])
    endpoint = endpoint_for(EndpointOptions("eu-central-1", override=server.url))
    service = CommandService(endpoint, credentials=lambda: next(keys), http=http)
    service.poll(HOST)
    service.poll(HOST)
    used = [request.headers["authorization"].partition("Credential=")[2][:3] for request in server.requests]
    assert used == ["OLD", "NEW"]


def test_a_poll_asks_for_the_host_that_is_meant_and_not_for_the_last_one(server, service):
    hosts = ["one", "one", "other", "one"]
    for host in hosts:
        service.poll(host)
    assert [json.loads(request.body)["HostIdentifier"] for request in server.requests] == hosts


def test_polls_do_not_connect_anew(server, service):
    for _ in range(3):
        service.poll(HOST)
    assert server.connections == 1


def botocore_client(directory, url, *, secure):
    """Make a full botocore client of our model, as any user of botocore could."""
    model = load_model(secure=secure)
    name, version = model["metadata"]["endpointPrefix"], model["metadata"]["apiVersion"]
    place = directory / name / version
    place.mkdir(parents=True)
    (place / "service-2.json").write_text(json.dumps(model))
    session = botocore.session.Session()
    session.get_component("data_loader").search_paths.append(os.fspath(directory))
    return session.create_client(
        name,
        "eu-central-1",
        endpoint_url=url,
        aws_access_key_id=KEYS.access_key,
        aws_secret_access_key=KEYS.secret_key,
        aws_session_token=KEYS.token,
        config=Config(retries={"max_attempts": 0}),
    )


@pytest.mark.parametrize("secure", [False, True])
def test_a_full_botocore_client_of_our_model_sends_the_same_and_reads_the_same(server, http, tmp_path, secure):
    envelope = {"Format": "PKCS7/JSON", "Payload": "p"}
    server.will(
        *[reply({"HostCommand": COMMAND})] * 2,
        *[reply({"DeploymentSystem": "CodeDeploy", "DeploymentSpecification": {"GenericEnvelope": envelope}})] * 2,
        *[reply({"CommandStatus": "Succeeded"})] * 2,
        *[Answer()] * 2,
    )
    ours = client_of(server, http, secure=secure)
    theirs = botocore_client(tmp_path, server.url, secure=secure)
    diagnostics = {"Format": "JSON", "Payload": '{"IsCommandNoop":true}'}

    found = ours.poll(HOST)
    reference = theirs.poll_host_command(HostIdentifier=HOST)["HostCommand"]
    assert tuple(found) == tuple(reference[name] for name in list(COMMAND)[:4])

    sealed = ours.specification("a/b", HOST)
    got = theirs.get_deployment_specification(DeploymentExecutionId="a/b", HostIdentifier=HOST)
    assert (sealed.format, sealed.payload) == tuple(got["DeploymentSpecification"]["GenericEnvelope"].values())

    status = ours.acknowledge("hc-1", is_noop=True)
    answer = theirs.put_host_command_acknowledgement(Diagnostics=diagnostics, HostCommandIdentifier="hc-1")
    assert status == answer["CommandStatus"]

    ours.complete("hc-1", status="Failed", payload="{}")
    theirs.put_host_command_complete(
        CommandStatus="Failed", Diagnostics={"Format": "JSON", "Payload": "{}"}, HostCommandIdentifier="hc-1"
    )
    theirs.close()
    for mine, other in zip(server.requests[::2], server.requests[1::2], strict=True):
        assert mine.body == json.dumps(json.loads(other.body), separators=(",", ":")).encode()
        for header in ("x-amz-target", "content-type", "host", "x-amz-security-token"):
            assert mine.headers[header] == other.headers[header]
        scope = slice(0, mine.headers["authorization"].index(","))
        assert mine.headers["authorization"][scope] == other.headers["authorization"][scope]
