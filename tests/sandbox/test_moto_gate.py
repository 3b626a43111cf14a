"""What a host's key cannot be turned into, what is refused before it is read, and what moto lacks."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from host_agent_stub import HostAgentStub
from sandbox_scene import Scene
from sandbox_server import SandboxServer

FORM = "application/x-www-form-urlencoded"
ROLE = "arn:aws:iam::123456789012:role/administrator"
ASSUME = urlencode(
    {"Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": ROLE, "RoleSessionName": "i-am-administrator"}
)
WHO_AM_I = "Action=GetCallerIdentity&Version=2011-06-15"


@pytest.fixture
def host(scene: Scene) -> HostAgentStub:
    return scene.host()


def signed(
    host: HostAgentStub,
    method: str,
    target: str,
    body: str = "",
    *,
    service: str = "sts",
    headers: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Send a request with the host's own signature, to the letter; give the status and the body of the answer."""
    netloc = urlsplit(host.url).netloc
    request = AWSRequest(method, f"http://{netloc}{target}", {"Host": netloc, **(headers or {})}, body.encode())
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(host.credentials, service, host.region).add_auth(request)
    connection = http.client.HTTPConnection(netloc, timeout=60)
    connection.request(method, target, body.encode(), dict(request.headers.items()))
    answer = connection.getresponse()
    found = answer.status, answer.read().decode("utf-8", "replace")
    connection.close()
    return found


@pytest.mark.parametrize(
    ("method", "target", "body", "content_type"),
    [
        ("POST", f"/?{ASSUME}", WHO_AM_I, "text/plain"),
        ("POST", f"/?{ASSUME}", WHO_AM_I, FORM),
        ("POST", f"/?{ASSUME}", "", FORM),
        ("GET", f"/?{ASSUME}", WHO_AM_I, "application/json"),
        ("POST", "/", f"{WHO_AM_I}&{ASSUME}", FORM),
        ("POST", "/", f"{ASSUME}&{WHO_AM_I}", FORM),
        ("POST", "/", f'--b\r\nContent-Disposition: form-data; name="Action"\r\n\r\nAssumeRole\r\n--b--\r\n&{WHO_AM_I}',
         "multipart/form-data; boundary=b"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("target_header", ["", "AWSSecurityTokenServiceV20110615.AssumeRole"])
def test_a_host_does_not_become_administrator(
    host: HostAgentStub, method: str, target: str, body: str, content_type: str, target_header: str
) -> None:
    headers = {"Content-Type": content_type, **({"X-Amz-Target": target_header} if target_header else {})}
    status, answer = signed(host, method, target, body, headers=headers)
    assert "SecretAccessKey" not in answer
    assert status >= 400


@pytest.mark.parametrize(
    "body",
    [f"{WHO_AM_I}&RoleArn={ROLE}&RoleSessionName=x", json.dumps({"Action": "AssumeRole", "x": f"&{WHO_AM_I}&"})],
)
def test_what_moto_gets_of_a_hosts_question_is_what_was_judged(host: HostAgentStub, body: str) -> None:
    headers = {"Content-Type": f"{FORM}; charset=utf-8", "X-Amz-Target": "AWSSecurityTokenServiceV20110615.AssumeRole"}
    status, answer = signed(host, "POST", "/", body, headers=headers)
    assert status == 200
    assert host.host_identifier in answer
    assert "SecretAccessKey" not in answer


@pytest.mark.parametrize(
    "target",
    [
        "/moto-api/data.json",
        "//moto-api/data.json",
        "/%6doto-api/data.json",
        "/moto-api/data.json?Action=ListBuckets",
        "http://moto-api/moto-api/data.json",
        "/v20180820/configuration/publicAccessBlock?Action=PutPublicAccessBlock",
    ],
)
def test_a_host_that_reads_s3_reads_nothing_else(host: HostAgentStub, sandbox: SandboxServer, target: str) -> None:
    for method in ("GET", "HEAD"):
        status, answer = signed(host, method, target, service="s3")
        assert status >= 400
        assert sandbox.description["secret_access_key"] not in answer


@pytest.mark.parametrize("target", ["//moto-api/reset", "/%6doto-api/reset", "/moto-api/reset"])
def test_nobody_resets_moto(scene: Scene, host: HostAgentStub, target: str) -> None:
    description = scene.sandbox.description
    host.credentials = Credentials(description["access_key_id"], description["secret_access_key"])
    assert signed(host, "POST", target, service="s3")[0] >= 400
    assert scene.sandbox.client("sts").get_caller_identity()["Arn"].endswith(":user/sandbox")


def test_a_hosts_key_stays_a_hosts_when_its_name_goes_to_another(scene: Scene, host: HostAgentStub) -> None:
    deploy, iam = scene.sandbox.client("codedeploy"), scene.sandbox.client("iam")
    name = f"{scene.name}-host-0"
    deploy.deregister_on_premises_instance(instanceName=name)
    arn = iam.create_user(UserName=f"{name}-next")["User"]["Arn"]
    deploy.register_on_premises_instance(instanceName=name, iamUserArn=arn)
    keys = {"AccessKeyId": host.credentials.access_key, "SecretAccessKey": host.credentials.secret_key}
    with pytest.raises(ClientError, match="AccessDenied"):
        scene.sandbox.client("codedeploy", keys=keys).list_applications()
    with pytest.raises(ClientError, match="AccessDenied"):
        scene.sandbox.client("iam", keys=keys).list_users()


def test_a_host_reads_objects_and_lists_buckets(scene: Scene, host: HostAgentStub) -> None:
    scene.sandbox.upload(scene.name, "odd name+.txt", b"content")
    assert signed(host, "GET", f"/{scene.name}/odd%20name%2B.txt", service="s3") == (200, "content")
    assert "odd name+.txt" in signed(host, "GET", f"/{scene.name}?list-type=2", service="s3")[1]
    assert signed(host, "GET", f"/{scene.name}/odd%20name%2B.txt", service="s3", headers={"Range": "bytes=3-"})[1] == (
        "tent"
    )


class Announcement:
    """A request of which only the head is sent; the body is announced and never comes."""

    def __init__(self, sandbox: SandboxServer, method: str, path: str, headers: dict[str, str]) -> None:
        where = urlsplit(sandbox.url)
        lines = [f"{method} {path} HTTP/1.1", f"Host: {where.netloc}", *[f"{k}: {v}" for k, v in headers.items()]]
        self.socket = socket.create_connection((where.hostname, where.port), timeout=60)
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def answer(self) -> str:
        with self.socket, self.socket.makefile("rb") as answer:
            return answer.readline().decode()


HUGE = str(1 << 40)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Amz-Target": "CodeDeploy_20141006.ListApplications"},
        {"X-Amz-Target": "CodeDeployCommandService_v20141006.PollHostCommand"},
        {"Authorization": "AWS4-HMAC-SHA256 nonsense"},
        {"Expect": "100-continue"},
        {"Authorization": "Bearer guessed"},
    ],
)
@pytest.mark.parametrize("framing", [{"Content-Length": HUGE}, {"Transfer-Encoding": "chunked"}])
@pytest.mark.parametrize("path", ["/", "/bucket/key", "/_sandbox/faults"])
def test_an_unsigned_body_is_refused_before_it_is_read(
    sandbox: SandboxServer, path: str, headers: dict[str, str], framing: dict[str, str]
) -> None:
    answer = Announcement(sandbox, "PUT", path, {**headers, **framing}).answer()
    assert answer.split()[1] in ("400", "403"), answer


@pytest.mark.parametrize("secret", ["", "guessed"])
def test_a_body_whose_signature_is_wrong_or_its_size_unproven_is_refused_before_it_is_read(
    sandbox: SandboxServer, secret: str
) -> None:
    key = Credentials(sandbox.description["access_key_id"], secret or sandbox.description["secret_access_key"])
    netloc = urlsplit(sandbox.url).netloc
    request = AWSRequest("POST", f"{sandbox.url}/", {"Host": netloc, "Content-Type": FORM}, b"Action=ListUsers")
    SigV4Auth(key, "iam", sandbox.region).add_auth(request)
    answer = Announcement(sandbox, "POST", "/", {**dict(request.headers.items()), "Content-Length": HUGE}).answer()
    assert answer.split()[1] == "413"
    request = AWSRequest("PUT", f"{sandbox.url}/bucket/key", {"Host": netloc}, b"content")
    S3SigV4Auth(Credentials(key.access_key, "guessed"), "s3", sandbox.region).add_auth(request)
    head = {**dict(request.headers.items()), "Content-Length": HUGE}
    assert Announcement(sandbox, "PUT", "/bucket/key", head).answer().split()[1] == "403"


def test_a_host_that_may_only_read_is_refused_before_its_body_is_read(
    sandbox: SandboxServer, host: HostAgentStub
) -> None:
    request = AWSRequest("PUT", f"{sandbox.url}/bucket/key", {"Host": urlsplit(sandbox.url).netloc}, b"content")
    S3SigV4Auth(host.credentials, "s3", host.region).add_auth(request)
    head = {**dict(request.headers.items()), "Content-Length": HUGE}
    assert Announcement(sandbox, "PUT", "/bucket/key", head).answer().split()[1] == "403"


def test_a_body_that_is_not_the_signed_one_is_refused(scene: Scene) -> None:
    sandbox = scene.sandbox
    sandbox.client("s3").create_bucket(Bucket=scene.name)
    key = Credentials(sandbox.description["access_key_id"], sandbox.description["secret_access_key"])
    netloc = urlsplit(sandbox.url).netloc
    request = AWSRequest("PUT", f"{sandbox.url}/{scene.name}/key", {"Host": netloc}, b"content")
    S3SigV4Auth(key, "s3", sandbox.region).add_auth(request)
    connection = http.client.HTTPConnection(netloc, timeout=60)
    connection.request("PUT", f"/{scene.name}/key", b"another", dict(request.headers.items()))
    assert connection.getresponse().status == 403
    connection.close()
    assert "Contents" not in sandbox.client("s3").list_objects_v2(Bucket=scene.name)


def test_a_large_body_of_the_administrator_is_stored(scene: Scene) -> None:
    scene.sandbox.upload(scene.name, "large", b"x" * (9 << 20))
    assert scene.sandbox.client("s3").head_object(Bucket=scene.name, Key="large")["ContentLength"] == 9 << 20


LACKING: list[tuple[str, str, dict[str, Any]]] = [
    ("gamelift", "list_builds", {}),  # JSON, no such service in moto
    ("chime", "list_accounts", {}),  # JSON by paths, no such service
    ("lambda", "list_code_signing_configs", {}),  # JSON by paths, no such path
    ("sqs", "list_message_move_tasks", {"SourceArn": "arn:aws:sqs:us-east-1:1:q"}),  # JSON, no such operation
    ("ec2", "describe_aggregate_id_format", {}),  # EC2's XML
    ("iam", "generate_organizations_access_report", {"EntityPath": "o-a1b2c3d4e5/r-f6g7h8i9j0example"}),  # query XML
]


@pytest.mark.parametrize(("service", "operation", "arguments"), LACKING, ids=[f"{one[0]}" for one in LACKING])
def test_what_moto_lacks_is_said(sandbox: SandboxServer, service: str, operation: str, arguments: Any) -> None:
    log = sandbox.directory / "log"
    before = log.stat().st_size
    with pytest.raises(ClientError) as error:
        getattr(sandbox.client(service), operation)(**arguments)
    answer = error.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert answer["Error"]["Code"].startswith("NotImplemented")
    assert "moto, which does not have" in answer["Error"]["Message"]
    assert b"Traceback" not in log.read_bytes()[before:]
