import json

import pytest

from agent.identity.errors import IdentityError, MetadataError
from agent.identity.identity import HostIdentity, find_identity, ignored_variables
from agent.identity.metadata import InstanceMetadata
from agent.identity.on_premises import OnPremises
from metadata_server import INSTANCE, running_metadata

USER = OnPremises("arn:aws:iam::123456789012:user/web1", "eu-west-1", "AKIA", "hush", None, "/etc/op.yml")
SESSION = OnPremises("arn:aws:sts::123456789012:assumed-role/R/web1", "eu-west-1", None, None, "/c", "/etc/op.yml")
HERE = "arn:aws:ec2:eu-west-1:123456789012:instance/i-0abcdef1234567890"


@pytest.fixture
def metadata(server, http):
    return InstanceMetadata(http, endpoint=server.url)


@pytest.mark.parametrize(("on_premises", "kind"), [(USER, "iam-user"), (SESSION, "iam-session")])
def test_the_on_premises_file_wins_and_metadata_is_not_even_asked(server, metadata, on_premises, kind):
    environment = {"AWS_REGION": "us-east-1", "AWS_HOST_IDENTIFIER": "arn:other"}
    found = find_identity(on_premises, metadata, environment)
    assert found[:4] == (on_premises.arn, "eu-west-1", "", kind)
    assert found.source.startswith("the on-premises configuration file /etc/op.yml (")
    assert "hush" not in repr(found)
    assert server.asked == []


def test_an_instance_is_named_by_its_arn(server, metadata):
    assert find_identity(None, metadata, {}) == HostIdentity(
        HERE, "eu-west-1", "amazonaws.com", "ec2", f"instance metadata at {server.url} (IMDSv2)"
    )


def test_an_instance_in_another_partition_has_its_name_and_domain(http):
    china = INSTANCE._replace(region="cn-north-1", partition="aws-cn", domain="amazonaws.com.cn")
    with running_metadata(china) as server:
        found = find_identity(None, InstanceMetadata(http, endpoint=server.url), {})
    assert found[:3] == (
        "arn:aws-cn:ec2:cn-north-1:123456789012:instance/i-0abcdef1234567890",
        "cn-north-1",
        "amazonaws.com.cn",
    )


def test_the_region_of_the_environment_replaces_the_region_but_not_the_name(server, metadata):
    found = find_identity(None, metadata, {"AWS_REGION": "us-east-1", "AWS_HOST_IDENTIFIER": ""})
    assert found[:4] == (HERE, "us-east-1", "", "ec2")
    assert found.source.endswith("; the region is AWS_REGION of the environment")


def test_the_identifier_of_the_environment_replaces_the_name(server, metadata):
    found = find_identity(None, metadata, {"AWS_HOST_IDENTIFIER": "arn:aws:iam::1:user/x"})
    assert found[:4] == ("arn:aws:iam::1:user/x", "eu-west-1", "amazonaws.com", "environment")
    assert "AWS_HOST_IDENTIFIER" in found.source


def test_an_environment_that_says_everything_needs_no_metadata(server, metadata):
    found = find_identity(None, metadata, {"AWS_HOST_IDENTIFIER": "web1", "AWS_REGION": "eu-west-1"})
    assert found[:4] == ("web1", "eu-west-1", "", "environment")
    assert server.asked == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("AWS_REGION", "eu-west-1b"), ("AWS_REGION", "a.b"), ("AWS_HOST_IDENTIFIER", "a b"), ("AWS_HOST_IDENTIFIER", "é")],
)
def test_a_wrong_environment_is_an_error_that_waiting_does_not_fix(server, metadata, name, value):
    with pytest.raises(IdentityError, match=f"{name} of the environment") as caught:
        find_identity(None, metadata, {name: value})
    assert not caught.value.passing
    assert server.asked == []


def test_metadata_that_fail_are_worth_another_attempt(server, metadata):
    server.faults["/latest/dynamic/instance-identity/document"] = ("500 Oops", b"")
    with pytest.raises(MetadataError) as caught:
        find_identity(None, metadata, {})
    assert caught.value.passing
    server.faults.clear()
    assert find_identity(None, metadata, {}).host_identifier == HERE


def test_an_identity_comes_through_json_unchanged(metadata):
    found = find_identity(None, metadata, {})
    assert HostIdentity(**json.loads(json.dumps(found._asdict()))) == found


def test_credentials_of_the_environment_are_named_as_ignored():
    environment = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_PROFILE": "", "PATH": "/bin"}
    assert ignored_variables(environment) == ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
