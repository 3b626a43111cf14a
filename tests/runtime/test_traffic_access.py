from __future__ import annotations

import pytest

from agent.config.settings import Settings
from agent.identity.identity import HostIdentity
from agent.network.credentials import Credentials
from agent.runtime.traffic_access import access_of, local_access
from agent.traffic.policy import Policy
from agent.traffic.provider import BalancerAccess

ARN = "arn:aws:iam::123456789012:user/host-1"
AWS = Policy([{"type": "elbv2"}])


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    path = tmp_path / "onpremises.yml"
    lines = [f"iam_user_arn: {ARN}", "region: eu-west-3", "aws_access_key_id: AKIAFILE", "aws_secret_access_key: s"]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return Settings(on_premises_config_file=str(path), root_dir=str(tmp_path / "root"))


def test_a_persons_own_credentials_come_before_those_of_the_host(settings, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPERSON")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    found = local_access(settings, AWS)
    assert (found.credentials, found.region) == (None, "eu-west-3")


def test_a_person_without_credentials_uses_the_hosts_file(settings):
    found = local_access(settings, AWS)
    assert found.credentials is not None
    assert (found.credentials().access_key, found.region, found.instance_id) == ("AKIAFILE", "eu-west-3", "")


def test_other_balancers_need_no_credentials_and_no_metadata(settings):
    assert local_access(settings, Policy([{"type": "haproxy"}])) == BalancerAccess()


def test_an_instance_is_known_by_its_id():
    identity = HostIdentity("arn:aws:ec2:eu-west-1:123456789012:instance/i-0abc", "eu-west-1")
    found = access_of(Settings(proxy_uri="http://proxy:3128"), identity, lambda: Credentials("A", "S"))
    assert (found.instance_id, found.region, found.proxy) == ("i-0abc", "eu-west-1", "http://proxy:3128")
