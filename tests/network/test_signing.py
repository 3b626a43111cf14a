"""Signatures, compared with those that full botocore clients make of the same requests."""

from __future__ import annotations

import datetime
import hashlib
import logging

import botocore.session
import pytest
from botocore.config import Config

from agent.network.credentials import Credentials
from agent.network.signing import sign
from wire_server import Answer, running_server

CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", "session/token+==")


@pytest.fixture
def at(monkeypatch):
    """Stop botocore's clock at a time in the form of X-Amz-Date."""

    def stop(stamp):
        moment = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ")
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: moment)

    return stop


def recorded(service, ask, *, token="session/token+=="):
    """Let a full botocore client send a request, and give it as it came over the wire."""
    session = botocore.session.Session()
    with running_server() as server:
        server.otherwise = Answer(body=b"{}")
        client = session.create_client(
            service,
            "eu-central-1",
            endpoint_url=server.url,
            aws_access_key_id=CREDENTIALS.access_key,
            aws_secret_access_key=CREDENTIALS.secret_key,
            aws_session_token=token,
            config=Config(retries={"max_attempts": 0}),
        )
        ask(client)
        client.close()
        return server.url, server.requests[0]


def signed_again(url, request, service, credentials=CREDENTIALS):
    """Sign what was recorded with our own function."""
    names = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    ours = ("host", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256")
    return sign(
        request.method,
        url + request.target,
        headers={name: request.headers[name] for name in names if name not in ours},
        body=request.body,
        credentials=credentials,
        service=service,
        region="eu-central-1",
    )


def list_applications(client):
    # The official agent signs this header too; botocore by itself would not send it.
    def add(request, **_):
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(request.body).hexdigest()

    client.meta.events.register("before-sign", add)
    client.list_applications()


def test_the_command_service_accepts_what_we_sign(at):
    url, request = recorded("codedeploy", list_applications)
    at(request.headers["x-amz-date"])
    signed = signed_again(url, request, "codedeploy")
    assert "x-amz-content-sha256" in request.headers["authorization"]
    assert signed["Authorization"] == request.headers["authorization"]
    assert signed["X-Amz-Security-Token"] == "session/token+=="


def test_credentials_without_a_token_send_none(at):
    url, request = recorded("codedeploy", list_applications, token=None)
    at(request.headers["x-amz-date"])
    keys = Credentials(CREDENTIALS.access_key, CREDENTIALS.secret_key)
    signed = signed_again(url, request, "codedeploy", keys)
    assert signed["Authorization"] == request.headers["authorization"]
    assert "X-Amz-Security-Token" not in signed


def test_a_signature_is_the_one_of_the_published_example(at):
    """The GET object example of the S3 documentation, "Authenticating requests: using the Authorization header"."""
    at("20130524T000000Z")
    signed = sign(
        "GET",
        "https://examplebucket.s3.amazonaws.com/test.txt",
        headers={"Range": "bytes=0-9"},
        body=b"",
        credentials=Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        service="s3",
        region="us-east-1",
    )
    assert signed["Authorization"].endswith("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")


def test_what_is_given_is_sent_with_what_is_added():
    given = {"Content-Type": "application/json", "User-Agent": "ours"}
    signed = sign(
        "POST", "http://h/", headers=given, body=b"{}", credentials=CREDENTIALS, service="s", region="eu-central-1"
    )
    added = {"X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-SHA256", "Authorization"}
    assert signed.keys() == given.keys() | added
    assert given.items() <= signed.items()
    assert "user-agent" not in signed["Authorization"]


def test_a_verbose_log_does_not_show_the_session_token(caplog):
    caplog.set_level(logging.DEBUG)
    sign("GET", "http://h/", headers={}, body=b"", credentials=CREDENTIALS, service="s", region="eu-central-1")
    assert "session/token" not in caplog.text


def test_credentials_do_not_show_their_secrets():
    assert "wJalr" not in repr(CREDENTIALS)
    assert "session" not in repr(CREDENTIALS)
