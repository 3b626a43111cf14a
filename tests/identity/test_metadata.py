import json
import logging
import socket
import threading

import pytest

from agent.identity.errors import CredentialsError, IdentityError, MetadataError
from agent.identity.identity import find_identity
from agent.identity.metadata import DEFAULT_ENDPOINT, IPV6_ENDPOINT, InstanceMetadata, metadata_endpoint
from agent.network.credentials import Credentials
from agent.network.http import HttpClient, HttpOptions
from agent.service.endpoint import EndpointOptions, endpoint_for
from metadata_server import INSTANCE, ROLE_KEYS, MetadataServer, running_metadata
from waiting import until
from wire_server import Answer, running_server

DOCUMENT = "/latest/dynamic/instance-identity/document"
ROLE = "/latest/meta-data/iam/security-credentials/"
KEYS = f"{ROLE}WebServer"
TOKEN = "/latest/api/token"


@pytest.fixture
def metadata(server, http):
    return InstanceMetadata(http, endpoint=server.url)


def asked_without_token(server: MetadataServer) -> list[str]:
    return [asked.path for asked in server.asked if asked.method == "GET" and asked.token is None]


def test_an_instance_learns_who_it_is_with_one_token(server, metadata):
    assert metadata.document() == ("123456789012", "i-0abcdef1234567890", "eu-west-1")
    assert (metadata.partition(), metadata.domain(), metadata.role_name()) == ("aws", "amazonaws.com", "WebServer")
    assert metadata.credentials() == Credentials("ASIAROLEKEY", "role-secret", "role-token", 4_000_000_000.0)
    assert server.tokens_given() == 1
    assert asked_without_token(server) == []
    assert metadata.version == "IMDSv2"


def test_a_token_is_renewed_before_it_ends(server, http, clock):
    metadata = InstanceMetadata(http, endpoint=server.url, clock=clock)
    metadata.document()
    clock.now += 21600 - 61
    metadata.document()
    assert server.tokens_given() == 1
    clock.now += 1
    metadata.document()
    assert server.tokens_given() == 2


def test_a_token_that_ended_early_is_replaced_at_once(http, clock):
    with running_metadata(clock=clock) as server:
        metadata = InstanceMetadata(http, endpoint=server.url, clock=lambda: 0.0)
        metadata.document()
        clock.now += 21601
        assert metadata.document().region == "eu-west-1"
        assert server.tokens_given() == 2


def test_a_service_that_gives_no_tokens_is_asked_without_and_that_is_said_once(server, http, clock, caplog):
    server.app.allow_v1 = True
    server.faults[TOKEN] = ("404 Not Found", b"")
    metadata = InstanceMetadata(http, endpoint=server.url, clock=clock)
    with caplog.at_level(logging.WARNING):
        assert metadata.document().region == "eu-west-1"
        assert metadata.version == "IMDSv1"
        metadata.partition()
        assert server.tokens_given() == 1
        clock.now += 60
        metadata.document()
    assert server.tokens_given() == 2
    assert [record.message for record in caplog.records] == [
        "Instance metadata is read without a token (IMDSv1). "
        f"Instance metadata at {server.url} gives no token (status 404)."
    ]


def test_tokens_are_used_again_once_they_are_given(server, http, clock):
    server.app.allow_v1 = True
    server.faults[TOKEN] = ("404 Not Found", b"")
    metadata = InstanceMetadata(http, endpoint=server.url, clock=clock)
    metadata.document()
    del server.faults[TOKEN]
    clock.now += 60
    metadata.document()
    assert metadata.version == "IMDSv2"
    assert server.asked[-1].token is not None


@pytest.mark.parametrize("fault", [("404 Not Found", b""), None], ids=["no tokens", "no answer"])
def test_with_v1_disabled_nothing_is_ever_asked_without_a_token(server, http, fault):
    server.app.allow_v1 = True
    server.faults[TOKEN] = fault
    metadata = InstanceMetadata(http, endpoint=server.url, allow_v1=False, timeout=0.2)
    for _attempt in range(2):
        with pytest.raises(MetadataError, match=r"gives no token|does not answer the request for a token"):
            metadata.document()
    until(lambda: server.tokens_given() == 2, "the second request for a token")
    assert asked_without_token(server) == []


def test_a_service_that_drips_at_the_address_of_metadata_does_not_hold_the_agent_for_ever(http):
    with running_server() as dripping:
        dripping.otherwise = Answer(body=b"x" * 400, drip=0)
        with pytest.raises(MetadataError):
            InstanceMetadata(http, endpoint=dripping.url, timeout=0.2).document()


@pytest.mark.parametrize("allow_v1", [True, False])
def test_a_hop_limit_that_is_too_low_for_a_container_is_explained(server, http, allow_v1):
    server.faults[TOKEN] = None
    metadata = InstanceMetadata(http, endpoint=server.url, allow_v1=allow_v1, timeout=0.2)
    with pytest.raises(MetadataError) as caught:
        metadata.document()
    assert "does not answer the request for a token" in caught.value.message
    assert "--http-put-response-hop-limit 2" in caught.value.remedy
    assert "on-premises configuration file" in caught.value.remedy
    assert caught.value.passing


def test_after_a_refused_question_without_token_a_token_is_asked_for_again(server, http):
    server.faults[TOKEN] = ("403 Forbidden", b"")
    metadata = InstanceMetadata(http, endpoint=server.url)
    with pytest.raises(MetadataError, match="gives no token"):
        metadata.document()
    del server.faults[TOKEN]
    assert metadata.document().region == "eu-west-1"


def test_nobody_at_the_address_is_explained(http):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(MetadataError, match=r"cannot be reached: .*on-premises configuration file") as caught:
            InstanceMetadata(http, endpoint=url).document()
    assert caught.value.passing


def test_metadata_is_never_asked_for_through_a_proxy(server):
    options = HttpOptions(proxy="http://127.0.0.1:1", environment={"HTTP_PROXY": "http://127.0.0.1:1"})
    http = HttpClient(options)
    # Loopback is never asked through a proxy anyway; 0.0.0.0 leads there too and does not say so.
    assert InstanceMetadata(http, endpoint=server.url.replace("127.0.0.1", "0.0.0.0")).document().region == "eu-west-1"
    http.close()


def test_a_token_with_a_line_end_never_becomes_a_header(server, metadata):
    server.faults[TOKEN] = ("200 OK", b"abc\r\nHost: attacker.example")
    with pytest.raises(MetadataError, match="something that is not a token"):
        metadata.document()


@pytest.mark.parametrize("status", ["400 Bad Request", "500 Oops", "301 Moved"])
def test_a_service_that_fails_is_not_asked_without_a_token(server, metadata, status):
    server.faults[TOKEN] = (status, b"")
    with pytest.raises(MetadataError, match=f"status {status[:3]}"):
        metadata.document()
    assert asked_without_token(server) == []


def test_metadata_that_is_switched_off_is_explained(server, metadata):
    server.faults[DOCUMENT] = ("403 Forbidden", b"")
    with pytest.raises(MetadataError, match=r"switched off.*--http-endpoint enabled"):
        metadata.document()


@pytest.mark.parametrize(
    "reply",
    [
        b"<html>",
        b"[]",
        b"\xff\xfe",
        b"[" * 60_000,
        b"x" * 70_000,
        json.dumps({"accountId": "123456789012", "instanceId": "i-1"}).encode(),
        json.dumps({"accountId": 123456789012, "instanceId": "i-1", "region": "eu-west-1"}).encode(),
        json.dumps({"accountId": "123456789012", "instanceId": "i-1:x/y", "region": "eu-west-1"}).encode(),
        json.dumps({"accountId": "123456789012", "instanceId": "i-1", "region": "x.attacker.example"}).encode(),
        json.dumps({"accountId": "1", "instanceId": "i-1\n", "region": "eu-west-1"}).encode(),
    ],
)
def test_an_identity_document_that_cannot_be_right_is_refused(server, metadata, reply):
    server.faults[DOCUMENT] = ("200 OK", reply)
    with pytest.raises(MetadataError) as caught:
        metadata.document()
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


def test_a_partition_that_cannot_be_right_is_refused(server, metadata):
    server.faults["/latest/meta-data/services/partition"] = ("200 OK", b"aws:evil")
    with pytest.raises(MetadataError, match="services' partition is"):
        metadata.partition()


@pytest.mark.parametrize("domain", ["attacker.example", "a/b", "é.com", "amazonaws.com.attacker.example"])
def test_whoever_answers_for_metadata_does_not_choose_where_commands_come_from(server, metadata, caplog, domain):
    server.faults["/latest/meta-data/services/domain"] = ("200 OK", domain.encode())
    identity = find_identity(None, metadata, {})
    endpoint = endpoint_for(EndpointOptions(identity.region, domain=identity.domain))
    assert endpoint.url == "https://codedeploy-commands.eu-west-1.amazonaws.com/"
    assert "usual domain of the region" in caplog.text


def test_an_old_service_without_partition_and_domain_still_identifies_the_host(server, metadata):
    for name in ("partition", "domain"):
        server.faults[f"/latest/meta-data/services/{name}"] = ("404 Not Found", b"")
    assert (metadata.partition(), metadata.domain()) == ("aws", "")


@pytest.mark.parametrize("fault", [("404 Not Found", b""), ("200 OK", b"\n")])
def test_an_instance_without_a_role_is_told_so(server, metadata, fault):
    server.faults[ROLE] = fault
    with pytest.raises(CredentialsError, match=r"No IAM role is attached.*associate-iam-instance-profile"):
        metadata.credentials()


def test_a_role_name_cannot_lead_to_another_path(server, metadata):
    server.faults[ROLE] = ("200 OK", b"../../user-data")
    with pytest.raises(MetadataError, match="not a valid name of a role"):
        metadata.credentials()


def test_a_role_that_ec2_cannot_assume_is_explained(server, metadata):
    reply = {"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role.\n"}
    server.faults[KEYS] = ("200 OK", json.dumps(reply).encode())
    with pytest.raises(CredentialsError) as caught:
        metadata.credentials()
    assert caught.value.message == (
        "EC2 has no credentials for the role WebServer: 'AssumeRoleUnauthorizedAccess' "
        "('EC2 cannot assume the role.\\n')."
    )
    assert "trust policy" in caught.value.remedy


def test_a_role_whose_credentials_are_not_there_yet_is_explained(server, metadata):
    server.faults[KEYS] = ("404 Not Found", b"")
    with pytest.raises(CredentialsError, match="no credentials for the role WebServer yet"):
        metadata.credentials()


WHOLE = {"AccessKeyId": "A", "SecretAccessKey": "hush", "Token": "T", "Expiration": "2026-11-23T05:13:10Z"}


@pytest.mark.parametrize(
    "change",
    [{"Expiration": "soon"}, {"Expiration": ""}, {"Token": None}, {"AccessKeyId": "A\r\nB"}, {"SecretAccessKey": 5}],
)
def test_credentials_that_are_not_whole_are_refused_without_being_shown(server, metadata, change):
    server.faults[KEYS] = ("200 OK", json.dumps({**WHOLE, **change}).encode())
    with pytest.raises(MetadataError) as caught:
        metadata.credentials()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("reply", [b"hush", b'{"SecretAccessKey": "hush"', b'["hush"]'])
def test_a_broken_reply_with_a_secret_does_not_reach_a_log(server, metadata, reply):
    server.faults[KEYS] = ("200 OK", reply)
    with pytest.raises(MetadataError) as caught:
        metadata.credentials()
    chain = [caught.value, caught.value.__cause__]
    assert "hush" not in " ".join(map(repr, chain))
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2026-11-23T05:13:10Z", 1795410790.0),
        ("2026-11-23T05:13:10.5+01:00", 1795407190.5),
        ("2026-11-23T05:13:10", 1795410790.0),
    ],
)
def test_the_end_of_credentials_is_read_in_every_usual_form(server, metadata, written, seconds):
    server.faults[KEYS] = ("200 OK", json.dumps({**WHOLE, "Expiration": written}).encode())
    assert metadata.credentials().expires_at == seconds


def test_threads_that_ask_at_once_share_one_token(server, metadata):
    found = []
    threads = [threading.Thread(target=lambda: found.append(metadata.document().region)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["eu-west-1"] * 6
    assert server.tokens_given() == 1


@pytest.mark.parametrize(
    ("environment", "endpoint"),
    [
        ({}, DEFAULT_ENDPOINT),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": ""}, DEFAULT_ENDPOINT),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, IPV6_ENDPOINT),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:5000/imds/"}, "http://127.0.0.1:5000/imds"),
    ],
)
def test_the_environment_says_where_metadata_is(environment, endpoint):
    assert metadata_endpoint(environment) == endpoint


@pytest.mark.parametrize("value", ["169.254.169.254", "ftp://a", "http://user:word@host", "http://a b"])
def test_an_address_that_is_no_url_is_refused(value):
    with pytest.raises(IdentityError, match="AWS_EC2_METADATA_SERVICE_ENDPOINT") as caught:
        metadata_endpoint({"AWS_EC2_METADATA_SERVICE_ENDPOINT": value})
    assert not caught.value.passing
    assert "word" not in str(caught.value)


def test_the_default_instance_of_these_tests_has_a_role():
    assert INSTANCE.credentials is not None
    assert INSTANCE.credentials() == ROLE_KEYS
