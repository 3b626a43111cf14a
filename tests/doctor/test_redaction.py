"""No secret leaves this host in a text that is sent to others."""

from __future__ import annotations

import time

import pytest

from agent.doctor.redaction import REMOVED, Redactor

# Written in parts, so that no scanner takes them for real ones.
ACCESS_KEY = "AK" + "IAIOSFODNN7EXAMPLE"
SESSION_KEY = "AS" + "IAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE" + "TOKENabcdefghij=="
GITHUB = "gh" + "p_abcdefghijklmnopqrstuvwxyz0123456789"
PEM = "-----BEGIN EC PRIVATE" + " KEY-----\nMHcCAQEEIBexample\nAbCdEf==\n-----END EC PRIVATE" + " KEY-----\n"

SECRETS = [
    (f"aws_access_key_id: {ACCESS_KEY}", ACCESS_KEY),
    (f"the key {SESSION_KEY}, which is of a session", SESSION_KEY),
    ("aws_secret_access_key: ab,c{d}&e f", "ab,c{d}&e f"),
    (":aws_secret_access_key: 'quoted secret'", "quoted secret"),
    (f"[default]\naws_secret_access_key = {SECRET_KEY}\n", SECRET_KEY),
    (f"somebody pasted {SECRET_KEY} here", SECRET_KEY),
    (f'{{"SecretAccessKey": "{SECRET_KEY}", "Code": "Success"}}', SECRET_KEY),
    ('{"log": "export \\"DB_PASSWORD\\": \\"hunter2\\" ok"}', "hunter2"),
    ("2026-11-23T05:13:10 INFO [x(1)]: password=hunter2 deployment=d-1", "hunter2"),
    ("DATABASE_PASSWORD=hunter2", "hunter2"),
    (f"<SessionToken>{TOKEN}</SessionToken>", TOKEN),
    (f"a bare {TOKEN} in a line", TOKEN),
    (f"git clone with {GITHUB}", GITHUB),
    ("proxy_uri: http://user:pass%40word@proxy.example:3128", "pass%40word"),
    ("https://token@github.com/x", "token@"),
    ("Authorization: AWS4-HMAC-SHA256 Credential=x, Signature=0123abcd", "0123abcd"),
    ('"Proxy-Authorization": "Basic dXNlcjpwYXNz"', "dXNlcjpwYXNz"),
    ("curl -H 'Authorization: token abcdef0123'", "abcdef0123"),
    ("bearer abcdefgh.ijklmnop", "abcdefgh.ijklmnop"),
    ("Set-Cookie: id=abcdefgh", "abcdefgh"),
    ("https://b.s3.amazonaws.com/k?X-Amz-Signature=abcd1234&X-Amz-Date=1", "abcd1234"),
    ("https://b.s3.amazonaws.com/k?X-Amz-Security-Token=abcd1234", "abcd1234"),
    ("url=https%3A%2F%2Fx%3FX-Amz-Signature%3Dabcd1234", "abcd1234"),
    (PEM, "MHcCAQEEIBexample"),
    (PEM[:60], "MHcCAQ"),
    (PEM[PEM.index("\n") + 1 :], "AbCdEf"),
    ("(the first 9 bytes are left out)\n" + PEM[PEM.index("\n") + 1 :], "AbCdEf"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_secret_is_taken_out_and_counted(text: str, secret: str) -> None:
    redacted, count = Redactor().redact(text)
    assert secret not in redacted
    assert REMOVED in redacted
    assert count >= 1
    assert Redactor().finds_none(redacted)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T05:13:10 INFO  [codedeploy-agent(11980)]: Install succeeded deployment=d-ABCDEFGHI group=g-1",
        "aws_credentials_file: /etc/codedeploy-agent/session",
        "on_premises_config_file: /etc/codedeploy-agent/conf/codedeploy.onpremises.yml",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "The credentials come from the instance's role.",
        "https://codedeploy-commands.eu-west-1.amazonaws.com/ answers in 12 ms.",
        "/opt/codedeploy-agent/deployment-root/1b2c3d4e-0000-1111-2222-333344445555/d-ABCDEFGHI",
    ],
)
def test_what_helps_and_is_not_a_secret_stays(text: str) -> None:
    assert Redactor().redact(text) == (text, 0)


def test_a_known_secret_goes_wherever_it_is_and_however_it_is_encoded() -> None:
    redactor = Redactor(["p@ss word", "p@ss word, and more"])
    redacted, count = redactor.redact("said: p@ss word, and more; p@ss word; p%40ss%20word")
    assert redacted == f"said: {REMOVED}; {REMOVED}; {REMOVED}"
    assert count == 3


@pytest.mark.parametrize("part", ["a.", "secret", "token=", '\\"', "-----BEGIN PKCS7-----", "password: ", "://x"])
def test_no_text_takes_long(part: str) -> None:
    began = time.process_time()
    Redactor().redact(part * (65536 // len(part)))
    assert time.process_time() - began < 60  # what grows with the square takes hours
