"""Fetching a wheelhouse: over https and from S3, from servers that answer over the wire."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.fleet.download import download, public_url
from agent.fleet.errors import SourceError
from agent.network.http import NetworkError
from metadata_server import ROLE_KEYS, running_metadata
from object_server import Fault, ObjectServer, StoredObject
from object_server import running_server as running_object_server
from wire_server import Answer, Authority, WireServer, running_server


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", authority.path)
    with running_server(tls=authority.server_context("127.0.0.1")) as running:
        yield running


def fetch(source: str, tmp_path: Path, **options) -> bytes:
    target = tmp_path / "fetched"
    download(source, str(target), **options)
    return target.read_bytes()


def test_a_wheelhouse_comes_over_https(server: WireServer, tmp_path) -> None:
    server.will(Answer(body=b"wheels" * 100_000))
    assert fetch(f"{server.url}/w.tar.gz?signature=x", tmp_path) == b"wheels" * 100_000
    assert server.requests[0].target == "/w.tar.gz?signature=x"
    assert (tmp_path / "fetched").stat().st_mode & 0o777 == 0o600


def test_a_server_that_leads_on_is_followed(server: WireServer, tmp_path) -> None:
    server.will(Answer(302, {"Location": "/real"}), Answer(body=b"wheels"))
    assert fetch(f"{server.url}/w.tar.gz", tmp_path) == b"wheels"
    assert server.requests[1].target == "/real"


def test_it_is_not_led_away_from_https(server: WireServer, tmp_path) -> None:
    server.will(Answer(302, {"Location": "http://127.0.0.1:1/secret?token=x"}))
    with pytest.raises(SourceError, match=r"leads on to http://127\.0\.0\.1:1/secret, which is not https"):
        fetch(f"{server.url}/w.tar.gz", tmp_path)


def test_it_is_not_led_in_circles(server: WireServer, tmp_path) -> None:
    server.otherwise = Answer(302, {"Location": "/w.tar.gz"})
    with pytest.raises(SourceError, match="more than 5 times"):
        fetch(f"{server.url}/w.tar.gz", tmp_path)


def test_a_refusal_names_the_address_without_its_signature(server: WireServer, tmp_path) -> None:
    server.will(Answer(403))
    with pytest.raises(SourceError, match="status 403") as caught:
        fetch(f"{server.url}/w.tar.gz?X-Amz-Signature=secret", tmp_path)
    assert "secret" not in str(caught.value)


def test_a_download_that_breaks_off_is_no_wheelhouse(server: WireServer, tmp_path) -> None:
    server.will(Answer(body=b"wheels" * 1000, cut=100))
    with pytest.raises(NetworkError):
        fetch(f"{server.url}/w.tar.gz", tmp_path)


def test_a_certificate_that_nobody_vouches_for_is_refused(server: WireServer, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(NetworkError, match="certificate"):
        fetch(f"{server.url}/w.tar.gz", tmp_path)
    assert server.requests == []


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    """A bucket with a wheelhouse, and a host that has nothing of AWS's in its environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    (tmp_path / "agent.yml").write_text(f"on_premises_config_file: {tmp_path}/onpremises.yml\n")
    monkeypatch.setenv("CODEDEPLOY_AGENT_CONFIG_FILE", str(tmp_path / "agent.yml"))
    with running_object_server() as objects:
        objects.objects["/releases/w.tar.gz"] = StoredObject(b"wheels")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", objects.url)
        yield objects


def test_a_wheelhouse_comes_from_s3_signed_with_the_operators_key(bucket: ObjectServer, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert fetch("s3://releases/w.tar.gz", tmp_path, region="eu-central-1") == b"wheels"
    (authorization,) = set(bucket.sent("Authorization"))
    assert "Credential=AKIAEXAMPLE/" in authorization
    assert "/eu-central-1/s3/aws4_request" in authorization
    with pytest.raises(AgentError, match="releases"):
        fetch("s3://releases/other.tar.gz", tmp_path / "other", region="eu-central-1")


def test_on_ec2_the_region_is_that_of_the_instance_and_a_bucket_elsewhere_is_followed(
    bucket: ObjectServer, tmp_path, monkeypatch
) -> None:
    bucket.faults.append(Fault(1, 1, status=301, headers=(("x-amz-bucket-region", "ap-south-1"),)))
    with running_metadata() as metadata:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url)
        assert fetch("s3://releases/w.tar.gz", tmp_path) == b"wheels"
    first, *_, last = bucket.sent("Authorization")
    assert f"Credential={ROLE_KEYS.access_key}/" in first
    assert "/eu-west-1/s3/" in first
    assert "/ap-south-1/s3/" in last


def test_a_host_with_a_registration_asks_in_its_region_with_its_key(bucket: ObjectServer, tmp_path) -> None:
    registration = tmp_path / "onpremises.yml"
    registration.write_text(
        "region: eu-central-1\niam_user_arn: arn:aws:iam::123456789012:user/web-1\n"
        "aws_access_key_id: AKIAREGISTERED\naws_secret_access_key: secret\n"
    )
    registration.chmod(0o600)
    assert fetch("s3://releases/w.tar.gz", tmp_path) == b"wheels"
    (authorization,) = set(bucket.sent("Authorization"))
    assert "Credential=AKIAREGISTERED/" in authorization
    assert "/eu-central-1/s3/" in authorization


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("http://example.com/w", "begins with http://"),
        ("file:///w", "begins with file://"),
        ("s3://bucket", "names no object"),
    ],
)
def test_other_places_are_refused(source, reason, tmp_path) -> None:
    with pytest.raises(SourceError, match=reason):
        fetch(source, tmp_path)


def test_an_address_is_shown_without_what_may_be_secret() -> None:
    assert public_url("https://user:pass@host:8443/a/b?X-Amz-Signature=s#f") == "https://host:8443/a/b"
