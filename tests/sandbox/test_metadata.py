import http.client
import json
from contextlib import contextmanager

import pytest
from botocore.utils import IMDSFetcher, InstanceMetadataFetcher, InstanceMetadataRegionFetcher

from agent.sandbox.metadata import MetadataApp, MetadataInstance
from metadata_server import INSTANCE, ROLE_KEYS, running_metadata

TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Client:
    def __init__(self, url, *, source="127.0.0.1"):
        self.address = url.removeprefix("http://")
        self.source = source

    def ask(self, path, *, method="GET", **headers):
        connection = http.client.HTTPConnection(self.address, source_address=(self.source, 0))
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        return response, body

    def token(self, seconds=60):
        response, body = self.ask("/latest/api/token", method="PUT", **{TTL: str(seconds)})
        assert response.status == 200
        assert response.headers[TTL] == str(seconds)
        return body

    def get(self, path):
        response, body = self.ask(path, **{TOKEN: self.token()})
        return body if response.status == 200 else response.status


@contextmanager
def client(instance=INSTANCE, **options):
    with running_metadata(instance, **options) as server:
        yield Client(server.url)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/latest/meta-data/instance-id", "i-0abcdef1234567890"),
        ("/2009-04-04/meta-data/instance-id", "i-0abcdef1234567890"),
        ("/2021-03-23/meta-data/placement/availability-zone", "eu-west-1a"),
        ("/latest/meta-data/placement/region", "eu-west-1"),
        ("/latest/meta-data/services/partition", "aws"),
        ("/latest/meta-data/services/domain", "amazonaws.com"),
        ("/latest/meta-data/local-ipv4", "127.0.0.1"),
        ("/latest/meta-data/hostname", "ip-127-0-0-1.ec2.internal"),
        ("/latest/meta-data/iam/security-credentials/", "WebServer"),
        ("/latest/meta-data/iam/security-credentials", "WebServer"),
        ("/latest/meta-data/iam/", "info\nsecurity-credentials/"),
        ("/latest/", "dynamic/\nmeta-data/"),
        ("/", "1.0\n2009-04-04\n2016-09-02\n2018-09-24\n2021-03-23\nlatest"),
        ("/latest/user-data", 404),
        ("/latest/meta-data/nothing", 404),
        ("/latest/meta-data/instance-id/deeper", 404),
        ("/latest/meta-data/public-keys/", 404),
        ("/latest/meta-data/tags/instance/", 404),
        ("/somewhere/meta-data/instance-id", 404),
    ],
)
def test_a_path_gives_what_ec2_gives(path, expected):
    with client() as asking:
        assert asking.get(path) == expected


def test_what_an_instance_has_besides_can_be_read():
    instance = MetadataInstance(
        "i-1",
        mac="02:00:00:00:00:01",
        user_data=b"#cloud-config\n",
        public_keys={"admin": "ssh-ed25519 AAAA admin"},
        tags={"Name": "web1"},
    )
    with client(instance) as asking:
        assert asking.get("/latest/user-data") == "#cloud-config\n"
        assert asking.get("/latest/meta-data/public-keys/") == "0=admin"
        assert asking.get("/latest/meta-data/public-keys/0/") == "openssh-key"
        assert asking.get("/latest/meta-data/public-keys/0/openssh-key") == "ssh-ed25519 AAAA admin"
        assert asking.get("/latest/meta-data/tags/instance/") == "Name"
        assert asking.get("/latest/meta-data/tags/instance/Name") == "web1"
        assert asking.get("/latest/meta-data/network/interfaces/macs/") == "02:00:00:00:00:01/"
        assert asking.get("/latest/meta-data/iam/security-credentials/") == 404


def test_the_document_and_the_role_s_credentials_are_whole():
    with client() as asking:
        document = json.loads(asking.get("/latest/dynamic/instance-identity/document"))
        assert (document["accountId"], document["region"]) == ("123456789012", "eu-west-1")
        found = json.loads(asking.get("/latest/meta-data/iam/security-credentials/WebServer"))
        info = json.loads(asking.get("/latest/meta-data/iam/info"))
    assert [found[key] for key in ("Code", "AccessKeyId", "SecretAccessKey", "Token", "Expiration")] == [
        "Success",
        *ROLE_KEYS[:3],
        "2096-10-02T07:06:40Z",
    ]
    assert info["InstanceProfileArn"] == "arn:aws:iam::123456789012:instance-profile/WebServer"


def test_nothing_can_be_read_without_a_token():
    with client() as asking:
        assert asking.ask("/latest/meta-data/instance-id")[0].status == 401
        for token in ("", "AAAA", "no base64!", "A" * 80):
            assert asking.ask("/latest/meta-data/instance-id", **{TOKEN: token})[0].status == 401


def test_a_wrong_token_does_not_pass_as_none_where_none_is_needed():
    with client(allow_v1=True) as asking:
        assert asking.ask("/latest/meta-data/instance-id")[1] == "i-0abcdef1234567890"
        assert asking.ask("/latest/meta-data/instance-id", **{TOKEN: "AAAA"})[0].status == 401


def test_a_token_ends_when_its_time_is_over():
    clock = Clock()
    with client(clock=clock) as asking:
        token = asking.token(60)
        clock.now += 59
        response, _body = asking.ask("/latest/meta-data/instance-id", **{TOKEN: token})
        assert (response.status, response.headers[TTL]) == (200, "1")
        clock.now += 1
        assert asking.ask("/latest/meta-data/instance-id", **{TOKEN: token})[0].status == 401


@pytest.mark.parametrize("seconds", [None, "", "0", "21601", "-1", "sixty", "1.5"])
def test_a_token_is_given_for_a_stated_time_only(seconds):
    headers = {} if seconds is None else {TTL: seconds}
    with client() as asking:
        assert asking.ask("/latest/api/token", method="PUT", **headers)[0].status == 400


def test_a_token_is_not_given_through_a_proxy():
    with client() as asking:
        headers = {TTL: "60", "X-Forwarded-For": "192.0.2.1"}
        assert asking.ask("/latest/api/token", method="PUT", **headers)[0].status == 403


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_metadata_can_only_be_read(method):
    with client() as asking:
        assert asking.ask("/latest/meta-data/instance-id", method=method)[0].status == 405


def test_head_gives_the_length_and_no_body():
    with client() as asking:
        response, body = asking.ask("/latest/meta-data/instance-id", method="HEAD", **{TOKEN: asking.token()})
        assert (response.status, response.headers["Content-Length"], body) == (200, "19", "")


def test_each_client_is_the_instance_of_its_address_and_its_token_is_good_for_no_other():
    with running_metadata() as server:
        server.app.add(MetadataInstance("i-two"), address="127.0.0.2")
        one, two = Client(server.url), Client(server.url, source="127.0.0.2")
        assert one.get("/latest/meta-data/instance-id") == "i-0abcdef1234567890"
        assert two.get("/latest/meta-data/instance-id") == "i-two"
        assert one.ask("/latest/meta-data/instance-id", **{TOKEN: two.token()})[0].status == 401
        server.app.remove("127.0.0.2")
        assert two.get("/latest/meta-data/instance-id") == "i-0abcdef1234567890"
        server.app.remove()
        assert two.ask("/latest/meta-data/instance-id")[0].status == 404


def test_rotated_credentials_are_given_from_then_on():
    keys = [ROLE_KEYS]
    with client(INSTANCE._replace(credentials=lambda: keys[-1])) as asking:
        keys.append(ROLE_KEYS._replace(access_key="ASIANEXT"))
        assert '"AccessKeyId": "ASIANEXT"' in asking.get("/latest/meta-data/iam/security-credentials/WebServer")


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("/latest/api/token", True),
        ("/2009-04-04/meta-data", True),
        ("/latest", True),
        ("/latest-photos/a", False),
        ("/", False),
    ],
)
def test_a_server_can_tell_which_paths_belong_here(path, ours):
    assert MetadataApp.answers(path) is ours


def sdk(fetcher: type[IMDSFetcher], url: str) -> IMDSFetcher:
    return fetcher(timeout=600, num_attempts=1, base_url=url, config={"ec2_metadata_v1_disabled": True})


def test_the_sdk_finds_region_and_credentials_here():
    with running_metadata() as server:
        found = sdk(InstanceMetadataFetcher, server.url).retrieve_iam_role_credentials()
        region = sdk(InstanceMetadataRegionFetcher, server.url).retrieve_region()
    assert region == "eu-west-1"
    assert found == {
        "role_name": "WebServer",
        "access_key": "ASIAROLEKEY",
        "secret_key": "role-secret",
        "token": "role-token",
        "expiry_time": "2096-10-02T07:06:40Z",
    }
