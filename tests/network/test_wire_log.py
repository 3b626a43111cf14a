"""The wire log: enough to see what happened, and no secret in it."""

from __future__ import annotations

import json

import pytest

from agent.network.http import HttpClient, HttpOptions
from agent.network.wire_log import WireLog, without_secrets
from proxy_server import running_proxy
from wire_server import Answer, running_server

SECRET = "SeCrEtVaLuE/+=1"


@pytest.fixture
def exchange():
    """Send one request and give what was written about it, and the body that the caller read."""

    def run(answer=Answer(), *, path="/", headers=None, body=b"", method="POST"):  # noqa: B008
        written = bytearray()
        with running_server() as server:
            server.will(answer)
            client = HttpClient(wire_log=WireLog(written.extend))
            read = client.request(method, server.url + path, headers=headers, body=body).read()
            client.close()
        return written.decode(), read

    return run


def json_answer(value):
    return Answer(headers={"Content-Type": "application/json"}, body=json.dumps(value).encode())


def test_a_request_and_its_answer_can_be_followed(exchange):
    answer = Answer(400, {"Content-Type": "application/x-amz-json-1.1", "X-Amzn-RequestId": "r-1"}, b'{"__type":"X"}')
    text, _ = exchange(
        answer, headers={"Content-Type": "application/json", "X-Amz-Target": "A.B"}, body=b'{"Host":"h"}'
    )
    for expected in (
        "> POST http://127.0.0.1:",
        "X-Amz-Target: A.B",
        '{"Host":"h"}',
        "< 400 ",
        "r-1",
        '{"__type":"X"}',
    ):
        assert expected in text
    assert text.endswith("\n")


@pytest.mark.parametrize(
    "name",
    ["Authorization", "X-Amz-Security-Token", "X-aws-ec2-metadata-token", "Proxy-Authorization", "Cookie"],
)
def test_no_header_shows_a_secret(exchange, name):
    text, _ = exchange(Answer(headers={"Set-Cookie": SECRET}), headers={name: SECRET})
    assert SECRET not in text
    assert f"{name}: [removed]" in text


@pytest.mark.parametrize(
    "value",
    [
        {"SecretAccessKey": SECRET, "Token": SECRET},
        {"Credentials": {"SessionToken": SECRET, "secretAccessKey": SECRET}},
        {"Payload": json.dumps({"GitHubAccessToken": SECRET})},
        {"Payload": json.dumps({"a": json.dumps({"GitHubAccessToken": SECRET})})},
        {"Payload": f"-----BEGIN PKCS7-----\n{SECRET}\n{SECRET}\n-----END PKCS7-----\n"},
        {"Payload": f"-----BEGIN PKCS7-----\n{SECRET}"},
        {"aws_secret_access_key": SECRET, "password": SECRET},
        {"filler": "x" * 4060, "Token": SECRET * 10},
    ],
)
def test_no_body_shows_a_secret(exchange, value):
    text, read = exchange(json_answer(value))
    assert SECRET not in text
    assert SECRET not in text.replace("\\", "")
    assert SECRET in json.dumps(json.loads(read)).replace("\\", "")


def test_a_secret_with_escaped_characters_is_not_shown(exchange):
    body = b'{"Token": "abc\\/Se\\u0043rEt\\\\tail", "b": 1}'
    text, _ = exchange(Answer(headers={"Content-Type": "application/json"}, body=body))
    assert "rEt" not in text
    assert "tail" not in text
    assert '"b": 1' in text


def test_no_body_in_xml_shows_a_secret(exchange):
    body = f"<C><AccessKeyId>AK</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey></C>".encode()
    text, _ = exchange(Answer(headers={"Content-Type": "text/xml"}, body=body))
    assert SECRET not in text
    assert "<AccessKeyId>AK</AccessKeyId>" in text


def test_a_metadata_token_is_not_shown(exchange):
    text, _ = exchange(Answer(headers={"Content-Type": "text/plain"}, body=SECRET.encode()), path="/latest/api/token")
    assert SECRET not in text
    assert f"[{len(SECRET)} bytes]" in text


def test_a_redirection_does_not_show_the_token_in_its_url(exchange):
    place = f"https://codeload.example/x?token={SECRET}&X-Amz-Signature={SECRET}&ref=main"
    text, _ = exchange(Answer(302, {"Location": place}), path=f"/a?X-Amz-Security-Token={SECRET}&part=1")
    assert SECRET not in text
    assert "ref=main" in text
    assert "part=1" in text


def test_a_bundle_is_not_written_into_the_log(exchange):
    text, _ = exchange(Answer(headers={"Content-Type": "application/octet-stream"}, body=b"\x00data" * 100))
    assert "data" not in text
    assert "[500 bytes]" in text


def test_a_long_text_is_cut(exchange):
    text, _ = exchange(Answer(headers={"Content-Type": "text/html"}, body=b"x" * 100000))
    assert len(text) < 6000
    assert "100000 bytes in all" in text


def test_nobody_can_forge_a_line_of_the_log(exchange):
    text, _ = exchange(Answer(headers={"Content-Type": "text/plain"}, body=b"a\n> GET forged\r\n\x1b[31m"))
    assert not any(line.startswith("> GET forged") for line in text.splitlines())
    assert "\x1b" not in text


def test_the_password_of_a_proxy_is_not_shown():
    written = bytearray()
    with running_proxy({}, refuse=503) as proxy:
        address = proxy.url.replace("//", "//user:secret@")
        client = HttpClient(HttpOptions(proxy=address), wire_log=WireLog(written.extend))
        client.request("GET", "http://service.test/").read()
        client.close()
    assert b"secret" not in written
    assert b"service.test" in written


def test_a_url_loses_its_password():
    assert without_secrets("to http://user:pass@host/x") == "to http://host/x"
