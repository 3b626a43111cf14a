"""The model of the service: botocore can use it, and what does not fit it is neither sent nor believed."""

from __future__ import annotations

import json
import os

import botocore.loaders
import pytest
from botocore.model import ServiceModel
from hypothesis import given
from hypothesis import strategies as st

from agent.service.errors import ProtocolError, ServiceErrorKind
from agent.service.shapes import MODEL_DIRECTORY, load_model, parse, serialise

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
NAMES = st.sampled_from(["HostCommand", "CommandName", "HostIdentifier", "Nonce", "Other"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=8)

OPERATIONS = {
    "GetDeploymentSpecification",
    "PollHostCommand",
    "PostHostCommandUpdate",
    "PutHostCommandAcknowledgement",
    "PutHostCommandComplete",
}


@pytest.mark.parametrize("secure", [False, True])
def test_botocore_understands_every_shape(secure):
    model = ServiceModel(load_model(secure=secure))
    assert set(model.operation_names) == OPERATIONS
    for name in OPERATIONS:
        operation = model.operation_model(name)
        assert operation.input_shape.members
        for error in operation.error_shapes:
            assert error.metadata["exception"]
    assert set(model.shape_names) >= {"HostCommand", "Envelope", "DeploymentSpecification"}
    assert all(model.shape_for(name) for name in model.shape_names)


def test_the_file_is_where_botocores_loader_looks():
    loader = botocore.loaders.Loader(extra_search_paths=[MODEL_DIRECTORY], include_default_search_paths=False)
    assert loader.list_api_versions("codedeploy-commands", "service-2") == ["2014-10-06"]
    assert loader.load_service_model("codedeploy-commands", "service-2") == load_model()


def test_only_names_differ_in_the_secure_model():
    plain, secure = load_model(), load_model(secure=True)
    assert plain["metadata"]["apiVersion"] == "2014-10-06"
    assert secure["metadata"]["apiVersion"] == "2019-11-11"
    assert secure["metadata"]["targetPrefix"] == "CodeDeployCommandService"
    assert {**secure, "metadata": None} == {**plain, "metadata": None}


def test_every_shape_is_used():
    with open(os.path.join(MODEL_DIRECTORY, "codedeploy-commands", "2014-10-06", "service-2.json")) as file:
        text = file.read()
    unused = [name for name in load_model()["shapes"] if f'"shape": "{name}"' not in text]
    assert unused == []


@pytest.mark.parametrize(
    ("operation", "members", "body"),
    [
        ("PollHostCommand", {"HostIdentifier": "arn:x"}, '{"HostIdentifier":"arn:x"}'),
        (
            "GetDeploymentSpecification",
            {"HostIdentifier": "h", "DeploymentExecutionId": "a/b"},
            '{"DeploymentExecutionId":"a/b","HostIdentifier":"h"}',
        ),
        (
            "PutHostCommandAcknowledgement",
            {"HostCommandIdentifier": "c", "Diagnostics": {"Payload": '{"IsCommandNoop":true}', "Format": "JSON"}},
            '{"Diagnostics":{"Format":"JSON","Payload":"{\\"IsCommandNoop\\":true}"},"HostCommandIdentifier":"c"}',
        ),
        (
            "PutHostCommandComplete",
            {"HostCommandIdentifier": "c", "Diagnostics": {"Format": "JSON", "Payload": ""}, "CommandStatus": "Failed"},
            '{"CommandStatus":"Failed","Diagnostics":{"Format":"JSON","Payload":""},"HostCommandIdentifier":"c"}',
        ),
        (
            "PostHostCommandUpdate",
            {"HostCommandIdentifier": "c", "EstimatedCompletionTime": 1.5},
            '{"EstimatedCompletionTime":1.5,"HostCommandIdentifier":"c"}',
        ),
    ],
)
def test_a_body_is_to_the_letter_what_the_official_agent_sends(operation, members, body):
    assert serialise(operation, members) == body.encode()


def test_any_text_survives_the_way_into_a_body():
    text = 'quote " backslash \\ tab \t line\n ü 日 \U0001f600 \x00 \udc80'
    assert json.loads(serialise("PollHostCommand", {"HostIdentifier": text})) == {"HostIdentifier": text}


DIAGNOSTICS = {"HostCommandIdentifier": "c", "CommandStatus": "Failed"}


@pytest.mark.parametrize(
    ("operation", "members", "said"),
    [
        ("PollHostCommand", {}, "PollHostCommand lacks HostIdentifier"),
        ("PollHostCommand", {"HostIdentifier": 5}, "is not of the type string"),
        ("PollHostCommand", {"HostIdentifier": None}, "is not of the type string"),
        ("PollHostCommand", {"HostIdentifier": "h", "Other": "x"}, "no member Other"),
        ("GetDeploymentSpecification", {"DeploymentExecutionId": "", "HostIdentifier": "h"}, "has 0 characters"),
        ("GetDeploymentSpecification", {"DeploymentExecutionId": "x" * 130, "HostIdentifier": "h"}, "1 to 129"),
        ("PutHostCommandComplete", {**DIAGNOSTICS, "CommandStatus": "Done"}, "Pending, InProgress, Succeeded, Failed"),
        (
            "PutHostCommandComplete",
            {**DIAGNOSTICS, "Diagnostics": {"Payload": "x" * 8193}},
            "Diagnostics.Payload has 8193",
        ),
        ("PutHostCommandComplete", {**DIAGNOSTICS, "Diagnostics": "x"}, "not a structure"),
        (
            "PostHostCommandUpdate",
            {"HostCommandIdentifier": "c", "EstimatedCompletionTime": True},
            "is not of the type timestamp",
        ),
    ],
)
def test_what_the_service_would_refuse_is_not_sent(operation, members, said):
    with pytest.raises(ProtocolError, match=said) as caught:
        serialise(operation, members)
    assert caught.value.kind is ServiceErrorKind.PROTOCOL
    assert not caught.value.passing


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}", b'{"HostCommand":null}', b'{"Unknown":[1]}'])
def test_an_answer_with_nothing_in_it_is_no_error(body):
    assert parse("PollHostCommand", body) == {}


def test_an_answer_is_read_with_all_its_members():
    body = {"HostCommand": {"HostCommandIdentifier": "c", "Nonce": 12, "CommandName": None, "New": {"x": 1}}}
    assert parse("PollHostCommand", json.dumps(body).encode()) == {
        "HostCommand": {"HostCommandIdentifier": "c", "Nonce": 12}
    }


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"5",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"HostCommand":',
        b'{"HostCommand":[]}',
        b'{"HostCommand":"x"}',
        b'{"HostCommand":{"CommandName":5}}',
        b'{"HostCommand":{"CommandName":{}}}',
        b'{"HostCommand":{"Nonce":"5"}}',
        b'{"HostCommand":{"Nonce":true}}',
        b"[" * 100000,
    ],
)
def test_an_answer_of_another_form_is_refused_as_a_whole(body):
    with pytest.raises(ProtocolError):
        parse("PollHostCommand", body)


@given(VALUES)
def test_no_answer_crashes_the_agent(value):
    try:
        found = parse("PollHostCommand", json.dumps(value).encode())
    except ProtocolError:
        return
    command = found.get("HostCommand", {})
    assert all(isinstance(command.get(name, ""), str) for name in ("CommandName", "HostIdentifier"))


def test_what_the_answer_to_a_completion_holds_does_not_matter():
    assert parse("PutHostCommandComplete", b'{"CommandStatus":5}') == {}
