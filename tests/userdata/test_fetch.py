"""The little program in user data that fetches a wheelhouse with nothing but Python's own library."""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from fleet_box import digest, wheel, write_archive
from metadata_server import ROLE_KEYS, running_metadata
from object_server import ObjectServer, StoredObject, running_server
from userdata_machine import SCRIPT
from wire_server import Answer, Authority
from wire_server import running_server as running_wire

PROGRAM = re.search(r"<<'PYTHON'\n(.*?)\nPYTHON\n", SCRIPT.read_text(), re.DOTALL)[1]


class Fetch:
    """The program, and what it is given."""

    def __init__(self, tmp_path: Path) -> None:
        self.program = tmp_path / "fetch.py"
        self.program.write_text(PROGRAM)
        self.work = tmp_path / "work"
        self.work.mkdir()
        name, data = wheel("codedeploy_host_agent", "9.1", {"agent/__init__.py": ""})
        place, self.sha256 = write_archive(tmp_path / "w.tar.gz", {name: data})
        self.archive, self.wheel = Path(place).read_bytes(), data
        self.environment = {"PATH": "/usr/bin:/bin", "AGENT_PAUSE": "0"}

    def run(self, source: str, *, sha256: str = "", region: str = "") -> subprocess.CompletedProcess[str]:
        parameters = {"AGENT_SOURCE": source, "AGENT_SHA256": sha256 or self.sha256, "AGENT_REGION": region}
        environment = {**self.environment, **parameters, "WORK": str(self.work)}
        command = [sys.executable, "-I", self.program]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def assert_fetched(self, done: subprocess.CompletedProcess[str]) -> None:
        assert done.returncode == 0, done.stdout + done.stderr
        assert (self.work / "wheelhouse.tar.gz").read_bytes() == self.archive
        assert (self.work / "agent.whl").read_bytes() == self.wheel


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    return Fetch(tmp_path)


@pytest.fixture
def s3(fetch: Fetch) -> Iterator[ObjectServer]:
    with running_server() as server:
        server.objects["/releases/agent%20one/w.tar.gz"] = StoredObject(fetch.archive)
        fetch.environment["AWS_ENDPOINT_URL_S3"] = server.url
        yield server


def signature_by_botocore(server: ObjectServer, keys: Credentials, region: str, monkeypatch) -> str:
    """The Authorization header that the SDK makes for the request that came."""
    request = server.requests[-1]
    stamp = datetime.datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda **_: stamp)
    kept = {"x-amz-content-sha256": request.headers["x-amz-content-sha256"]}
    signed = AWSRequest("GET", server.url + request.path, headers=kept)
    S3SigV4Auth(keys, "s3", region).add_auth(signed)
    return str(signed.headers["Authorization"])


def test_https_is_asked_with_the_systems_certificates(fetch, tmp_path) -> None:
    authority = Authority(tmp_path)
    fetch.environment["SSL_CERT_FILE"] = authority.path
    with running_wire(tls=authority.server_context("127.0.0.1")) as server:
        server.will(Answer(503), Answer(hang_up=True), Answer(body=fetch.archive, cut=100), Answer(body=fetch.archive))
        done = fetch.run(f"{server.url}/w.tar.gz?signature=x")
        fetch.assert_fetched(done)
        assert len(server.requests) == 4, "passing faults are waited for"


def test_a_refusal_is_not_repeated(fetch, tmp_path) -> None:
    authority = Authority(tmp_path)
    fetch.environment["SSL_CERT_FILE"] = authority.path
    with running_wire(tls=authority.server_context("127.0.0.1")) as server:
        server.otherwise = Answer(403, body=b"Request has expired")
        done = fetch.run(f"{server.url}/w.tar.gz")
        assert (done.returncode, len(server.requests)) == (75, 1)
        assert "status 403: Request has expired" in done.stdout


def test_another_file_than_the_one_that_was_meant_is_not_used(fetch, tmp_path) -> None:
    (tmp_path / "other.tar.gz").write_bytes(b"other")
    done = fetch.run(str(tmp_path / "other.tar.gz"))
    assert done.returncode == 1
    assert f"is {digest(b'other')}, and {fetch.sha256} was expected" in done.stderr
    assert not (fetch.work / "agent.whl").exists()


def test_the_list_of_a_directory_is_read_once_so_that_what_is_checked_is_what_is_used(fetch, tmp_path) -> None:
    directory = tmp_path / "wheelhouse"
    directory.mkdir()
    name = "codedeploy_host_agent-9.1-py3-none-any.whl"
    (directory / name).write_bytes(fetch.wheel)
    sums = f"{digest(fetch.wheel)}  {name}\n".encode()
    (directory / "SHA256SUMS").write_bytes(sums)
    hook = "import sys\nsys.addaudithook(lambda event, seen: event == 'open' and print('opened', seen[0]))\n"
    fetch.program.write_text(hook + PROGRAM)
    done = fetch.run(str(directory), sha256=digest(sums))
    assert done.returncode == 0, done.stderr
    assert (fetch.work / "agent.whl").read_bytes() == fetch.wheel
    assert done.stdout.splitlines().count(f"opened {directory}/SHA256SUMS") == 1


def test_s3_is_asked_with_keys_of_the_environment_signed_as_the_sdk_does(fetch, s3, monkeypatch) -> None:
    fetch.environment |= {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
    fetch.assert_fetched(fetch.run("s3://releases/agent one/w.tar.gz", region="eu-central-1"))
    expected = signature_by_botocore(s3, Credentials("AKIAEXAMPLE", "secret"), "eu-central-1", monkeypatch)
    assert s3.requests[-1].headers["authorization"].replace(", ", ",") == expected.replace(", ", ",")


def test_an_instance_asks_with_its_role_in_its_region(fetch, s3, monkeypatch) -> None:
    with running_metadata() as metadata:
        fetch.environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
        fetch.environment["http_proxy"] = "http://127.0.0.1:1"
        fetch.environment["no_proxy"] = s3.url.split("/")[2]
        fetch.assert_fetched(fetch.run("s3://releases/agent one/w.tar.gz"))
    keys = Credentials(ROLE_KEYS.access_key, ROLE_KEYS.secret_key, ROLE_KEYS.token)
    assert s3.requests[-1].headers["x-amz-security-token"] == ROLE_KEYS.token
    expected = signature_by_botocore(s3, keys, "eu-west-1", monkeypatch)
    assert s3.requests[-1].headers["authorization"].replace(", ", ",") == expected.replace(", ", ",")


def test_an_object_that_is_not_there_says_so(fetch, s3) -> None:
    fetch.environment |= {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
    done = fetch.run("s3://releases/none.tar.gz", region="eu-central-1")
    assert done.returncode == 75
    assert "NoSuchKey" in done.stdout


def test_a_role_that_the_metadata_service_does_not_know_yet_is_waited_for(fetch, s3) -> None:
    with running_metadata() as metadata:
        role = "/latest/meta-data/iam/security-credentials/WebServer"
        metadata.faults[role] = ("404 Not Found", b"no such role")
        fetch.environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
        done = fetch.run("s3://releases/agent one/w.tar.gz")
    assert done.returncode == 75
    assert [asked.path for asked in metadata.asked].count(role) == 5
    assert "status 404: no such role" in done.stdout


def test_credentials_that_are_not_there_yet_say_so(fetch, s3) -> None:
    with running_metadata() as metadata:
        role = "/latest/meta-data/iam/security-credentials/WebServer"
        metadata.faults[role] = ("200 OK", b'{"Code": "AssumeRoleUnauthorizedAccess"}')
        fetch.environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
        done = fetch.run("s3://releases/agent one/w.tar.gz")
    assert (done.returncode, "KeyError: 'AccessKeyId'" in done.stdout) == (75, True)


def test_a_host_that_is_nobody_says_so(fetch, s3) -> None:
    fetch.environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = "http://127.0.0.1:1"
    done = fetch.run("s3://releases/none.tar.gz")
    assert done.returncode == 75
    assert "the download failed:" in done.stdout
    assert os.listdir(fetch.work) == []
