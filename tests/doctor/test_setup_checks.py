"""A wrong configuration, identity or credential is found, and the remedy is named."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from examined_host import ExaminedHost
from metadata_server import running_metadata
from wire_server import Answer, Authority, WireServer

ROLE = "/latest/meta-data/iam/security-credentials/"


def test_a_mistake_in_the_configuration_is_named_with_its_line(host: ExaminedHost) -> None:
    host.passes("configuration", "has no mistake")
    host.write_config(max_revisons=5)
    host.warns("configuration", "Unknown setting", "Correct these lines")
    host.write_config(max_revisions="many")
    host.fails("configuration", "max_revisions is 'many'", "Correct the lines")


def test_a_host_that_nobody_names_is_told_how_to_get_an_identity(host: ExaminedHost) -> None:
    host.passes("identity", "arn:aws:iam::123456789012:user/host-1 in eu-central-1")
    host.on_premises.unlink()
    host.fails("identity", "no on-premises file", "codedeploy-agent register")
    host.skips("credentials", "see the check identity")


def test_a_broken_on_premises_file_is_named_with_its_line(host: ExaminedHost) -> None:
    host.on_premises.write_text("iam_user_arn: nonsense\nregion: eu-central-1\n")
    host.fails("identity", "onpremises.yml:1", "")
    host.fails("on-premises-file", "onpremises.yml:1", "")


def test_an_instance_with_an_on_premises_file_is_told_which_one_counts(host: ExaminedHost) -> None:
    with running_metadata() as metadata:
        host.variables["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
        host.warns("identity", "also the EC2 instance i-0abcdef1234567890", "remove")
        host.on_premises.unlink()
        host.passes("identity", "instance/i-0abcdef1234567890")


def test_an_on_premises_file_that_others_read_is_found(host: ExaminedHost) -> None:
    host.passes("on-premises-file", "names arn:aws:iam")
    host.on_premises.chmod(0o644)
    host.warns("on-premises-file", "others than its owner may read", "0600")


def test_a_role_that_is_missing_or_does_not_renew_is_found(host: ExaminedHost) -> None:
    host.on_premises.unlink()
    with running_metadata() as metadata:
        host.variables["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
        host.passes("credentials", "the instance's role")
        metadata.faults[ROLE] = ("404 Not Found", b"")
        host.fails("credentials", "No IAM role is attached", "associate-iam-instance-profile")


def test_credentials_that_are_about_to_expire_are_found(host: ExaminedHost, tmp_path: Path) -> None:
    session = tmp_path / "session"
    lines = "iam_session_arn: arn:aws:sts::123456789012:assumed-role/Role/web\nregion: eu-central-1\n"
    host.on_premises.write_text(f"{lines}aws_credentials_file: {session}\n")
    for seconds, expect, text, remedy in (
        (3600, host.passes, "expire at", None),
        (60, host.warns, "expire at", "Check what renews them"),
        (-60, host.fails, "session that ended", "renews this file"),
    ):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        keys = "aws_access_key_id = ASIAEXAMPLE\naws_secret_access_key = x\naws_session_token = y\n"
        session.write_text(f"[default]\n{keys}aws_expiration = {stamp}\n")
        expect("credentials", text, *([remedy] if remedy else []))


def test_variables_that_the_agent_does_not_use_are_named(host: ExaminedHost) -> None:
    host.variables["AWS_ACCESS_KEY_ID"] = "AKIAOTHER"
    host.warns("credentials", "does not use AWS_ACCESS_KEY_ID", "Unset")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [("InvalidClientTokenId", "Register the host again"), ("ExpiredToken", "renews the session")],
)
def test_credentials_that_aws_refuses_are_found(
    host: ExaminedHost, service: WireServer, code: str, remedy: str
) -> None:
    host.variables["AWS_ENDPOINT_URL_STS"] = service.url
    service.otherwise = Answer(body=b"<r><Arn>arn:aws:iam::123456789012:user/host-1</Arn></r>")
    host.passes("credentials-accepted", "user/host-1")
    assert "GetCallerIdentity" in service.requests[-1].body.decode()
    assert "/eu-central-1/sts/aws4_request" in service.requests[-1].headers["authorization"]
    service.otherwise = Answer(403, body=f"<e><Error><Code>{code}</Code></Error></e>".encode())
    host.fails("credentials-accepted", code, remedy)


def test_a_host_without_a_way_to_sts_is_not_ill(host: ExaminedHost, service: WireServer) -> None:
    host.skips("credentials-accepted", "not a service of AWS")
    host.variables["AWS_ENDPOINT_URL_STS"] = "http://127.0.0.1:9"
    host.skips("credentials-accepted", "STS cannot be asked")
    service.otherwise = Answer(503)
    host.variables["AWS_ENDPOINT_URL_STS"] = service.url
    host.skips("credentials-accepted", "503")


def test_a_missing_authority_of_the_signer_is_found(host: ExaminedHost, tmp_path: Path) -> None:
    host.passes("signer", "No signer is pinned")
    host.write_config(deployment_signer_ca_file=tmp_path / "gone.pem")
    host.fails("signer", "every deployment is refused", "Put the PEM file there")
    host.write_config(deployment_signer_ca_file=host.config)
    host.fails("signer", "no certificate in PEM form", "")
    host.write_config(deployment_signer_ca_file=Authority(tmp_path).path)
    host.passes("signer", "must lead to")
