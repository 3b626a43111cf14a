"""A request that is not as HTTP wants it: the sandbox answers, lives on, and takes nothing for what it is not."""

from __future__ import annotations

import contextlib
import socket
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sandbox_server import SandboxServer


def exchange(sandbox: SandboxServer, sent: bytes) -> bytes:
    """Send bytes, end the sending, and return all that comes."""
    where = urlsplit(sandbox.url)
    received = b""
    with (
        socket.create_connection((where.hostname, where.port), timeout=60) as connection,
        contextlib.suppress(OSError),  # a body that breaks off ends the connection
    ):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            received += data
    return received


def request(
    sandbox: SandboxServer,
    body: bytes,
    *framing: str,
    signed: bytes = b"{}",
    operation: str = "ListApplications",
) -> bytes:
    """Return a call with a signature for ``signed``, and this framing."""
    headers = {
        "Host": urlsplit(sandbox.url).netloc,
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"CodeDeploy_20141006.{operation}",
    }
    made = AWSRequest("POST", f"{sandbox.url}/", headers, signed)
    key = Credentials(sandbox.description["access_key_id"], sandbox.description["secret_access_key"])
    SigV4Auth(key, "codedeploy", sandbox.region).add_auth(made)
    lines = [f"{name}: {value}" for name, value in made.headers.items()]
    return "\r\n".join(["POST / HTTP/1.1", *lines, *framing, "", ""]).encode() + body


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("body", [b"fffffff\r\n{}", b"2\r\n{}", b"2\r\n{}XX", b"-2\r\n{}", b"zz\r\n", b"9" * 9999, b""])
def test_a_chunked_body_that_breaks_off_does_not_end_the_sandbox(
    sandbox: SandboxServer, body: bytes, signed: bool
) -> None:
    head = request(sandbox, body, CHUNKED) if signed else b"POST / HTTP/1.1\r\nHost: x\r\n" + CHUNKED.encode()
    exchange(sandbox, head if signed else head + b"\r\n\r\n" + body)
    assert sandbox.process.poll() is None
    assert "applications" in sandbox.client("codedeploy").list_applications()


@pytest.mark.parametrize(
    "body", [b"2\r\n{}\r\n0\r\n\r\n", b"1;ext=1\r\n{\r\n01 \r\n}\r\n0;x\r\nTrailer: one\r\nTrailer: two\r\n\r\n"]
)
def test_the_next_request_begins_where_a_chunked_body_ends(sandbox: SandboxServer, body: bytes) -> None:
    assert exchange(sandbox, request(sandbox, body, CHUNKED) * 3).count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize(
    "framing",
    [
        ("Content-Length: -1",),
        ("Content-Length: +2",),
        ("Content-Length: 0x2",),
        ("Content-Length: 1_0",),
        ("Content-Length: \u0663",),
        ("Content-Length: 2, 2",),
        ("Content-Length: 2", "Content-Length: 3"),
        ("Content-Length: 2", CHUNKED),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: identity",),
        (CHUNKED, CHUNKED),
    ],
)
def test_a_body_whose_end_is_uncertain_is_refused_and_not_read(sandbox: SandboxServer, framing: tuple[str]) -> None:
    answer = exchange(sandbox, request(sandbox, b"2\r\n{}\r\n0\r\n\r\n", *framing))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("target", ["http://[", "http://[::1"])
def test_a_target_that_is_no_url_is_refused(sandbox: SandboxServer, target: str) -> None:
    assert exchange(sandbox, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("host", [b"", b"Host: [\r\n", b"Host: a]b:c\r\n"])
def test_a_request_whose_host_is_none_is_refused(sandbox: SandboxServer, host: bytes) -> None:
    own = f"Host: {urlsplit(sandbox.url).netloc}\r\n".encode()
    sent = request(sandbox, b"{}", "Content-Length: 2")
    assert own in sent
    assert b"InvalidSignatureException" in exchange(sandbox, sent.replace(own, host))


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"a":' * 100_000])
def test_json_without_an_end_to_its_depth_is_refused(sandbox: SandboxServer, body: bytes) -> None:
    answer = exchange(sandbox, request(sandbox, body, f"Content-Length: {len(body)}", signed=body))
    assert b"SerializationException" in answer


def test_a_time_that_is_none_is_refused(sandbox: SandboxServer) -> None:
    body = b'{"createTimeRange": {"start": 100000000000000000000}}'
    sent = request(sandbox, body, f"Content-Length: {len(body)}", signed=body, operation="ListDeployments")
    assert b"InvalidTimeRangeException" in exchange(sandbox, sent)


def test_an_odd_question_for_the_journal_is_refused(sandbox: SandboxServer) -> None:
    with pytest.raises(AssertionError, match="after is the number of an entry"):
        sandbox.control("GET", "journal?after=abc")
