"""Where a bundle is asked for: through a proxy that knows the one host that is right, and with its certificate."""

from __future__ import annotations

import pytest

from agent.bundle.fetch import FetchOptions
from agent.bundle.s3 import fetch_s3
from agent.deployment.spec import BundleType, S3Revision
from agent.errors import BundleError
from agent.network.credentials import Credentials
from agent.network.http import HttpClient, HttpOptions
from object_server import StoredObject
from object_server import running_server as running_object_server
from proxy_server import running_proxy
from wire_server import Answer, Authority, running_server

CONTENT = b"a small bundle"
BUNDLE = Answer(headers={"ETag": '"e"'}, body=CONTENT)
ACCESS_POINT = "arn:aws:s3:us-west-2:123456789012:accesspoint/mine"


@pytest.fixture
def asked(tmp_path):
    """Fetch from S3 where its hosts are these; return the requests."""
    authority = Authority(tmp_path)

    def fetch(hosts, answers, *, bucket="bucket", region="eu-west-1", **options):
        with running_server(tls=authority.server_context(*hosts)) as server:
            server.will(*answers)
            with running_proxy(dict.fromkeys(hosts, server.port)) as proxy:
                http = HttpClient(HttpOptions(proxy=proxy.url, ca_bundle=authority.path))
                fetching = FetchOptions(http, lambda: Credentials("AKID", "secret"), region, **options)
                revision = S3Revision(bucket, "a/b.tar", BundleType.TAR)
                fetch_s3(revision, str(tmp_path / "bundle"), options=fetching, sleep=lambda _: None)
                http.close()
            assert (tmp_path / "bundle").read_bytes() == CONTENT
            return server.requests

    return fetch


@pytest.mark.parametrize(
    ("bucket", "region", "host", "path"),
    [
        ("bucket", "eu-west-1", "bucket.s3.eu-west-1.amazonaws.com", "/a/b.tar"),
        ("bucket", "us-east-1", "bucket.s3.us-east-1.amazonaws.com", "/a/b.tar"),
        ("bucket", "cn-north-1", "bucket.s3.cn-north-1.amazonaws.com.cn", "/a/b.tar"),
        ("bucket", "xx-new-9", "bucket.s3.xx-new-9.amazonaws.com", "/a/b.tar"),
        ("with.dots", "eu-west-1", "s3.eu-west-1.amazonaws.com", "/with.dots/a/b.tar"),
        ("With_Capitals", "us-east-1", "s3.us-east-1.amazonaws.com", "/With_Capitals/a/b.tar"),
        (ACCESS_POINT, "eu-west-1", "mine-123456789012.s3-accesspoint.us-west-2.amazonaws.com", "/a/b.tar"),
    ],
)
def test_a_bucket_is_asked_where_it_can_be_reached(asked, bucket, region, host, path):
    (request,) = asked([host], [BUNDLE], bucket=bucket, region=region)
    assert request.target == path
    signed_for = "us-west-2" if bucket == ACCESS_POINT else region
    assert f"/{signed_for}/s3/aws4_request" in request.headers["authorization"]


def test_the_permission_for_an_access_points_object_is_named(asked):
    host = "mine-123456789012.s3-accesspoint.us-west-2.amazonaws.com"
    with pytest.raises(BundleError, match=f"s3:GetObject on {ACCESS_POINT}/object/a/b.tar"):
        asked([host], [Answer(403, body=b"<Error><Code>AccessDenied</Code></Error>")], bucket=ACCESS_POINT)


def test_with_fips_mode_the_fips_endpoint_is_asked(asked):
    asked(["bucket.s3-fips.us-east-1.amazonaws.com"], [BUNDLE], region="us-east-1", fips=True)


def test_dual_stack_is_used_where_the_environment_says_so(asked, monkeypatch):
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    asked(["bucket.s3.dualstack.eu-west-1.amazonaws.com"], [BUNDLE])


def test_profiles_and_endpoints_of_the_aws_tools_change_nothing(asked, tmp_path, monkeypatch):
    (tmp_path / "config").write_text("[profile other]\nregion = eu-north-1\nuse_fips_endpoint = true\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "other")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    asked(["bucket.s3.eu-west-1.amazonaws.com"], [BUNDLE])


def test_a_bucket_that_lies_elsewhere_is_asked_at_that_regions_host(asked):
    hosts = ["bucket.s3.eu-west-1.amazonaws.com", "bucket.s3.ap-south-1.amazonaws.com"]
    first, second = asked(hosts, [Answer(301, {"x-amz-bucket-region": "ap-south-1"}), BUNDLE])
    assert "/eu-west-1/s3/" in first.headers["authorization"]
    assert second.headers["host"] == hosts[1]
    assert "/ap-south-1/s3/" in second.headers["authorization"]


def test_a_temporary_redirect_is_followed_within_the_partition_of_the_region(asked):
    hosts = ["bucket.s3.eu-west-1.amazonaws.com", "bucket.s3-new.amazonaws.com"]
    _, second = asked(hosts, [Answer(307, {"Location": f"https://{hosts[1]}/a/b.tar"}), BUNDLE])
    assert second.headers["host"] == hosts[1]


def test_a_directory_bucket_is_read_with_the_keys_of_a_session(asked):
    bucket = "mine--use1-az4--x-s3"
    session = (
        b"<CreateSessionResult><Credentials><AccessKeyId>SESSION</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
        b"<SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></CreateSessionResult>"
    )
    made = Answer(headers={"Content-Type": "application/xml"}, body=session)
    host = f"{bucket}.s3express-use1-az4.us-east-1.amazonaws.com"
    first, second = asked([host], [made, BUNDLE], bucket=bucket, region="us-east-1")
    assert (first.target, second.target) == ("/?session", "/a/b.tar")
    assert "Credential=SESSION/" in second.headers["authorization"]
    assert second.headers["x-amz-s3session-token"] == "t"


@pytest.mark.parametrize(
    "location",
    [
        "http://bucket.s3-eu-west-1.amazonaws.com/k",
        "https://bucket.amazonaws.com.evil.example/k",
        "https://evilamazonaws.com/k",
        "https://u:p@bucket.s3.amazonaws.com/k",
        "/k",
        "",
    ],
)
def test_a_redirect_may_not_lead_elsewhere(asked, location):
    host = "bucket.s3.eu-west-1.amazonaws.com"
    with pytest.raises(BundleError, match=r"S3 in eu-west-1 refused s3://bucket/a/b\.tar: 307"):
        asked([host], [Answer(307, {"Location": location}), Answer(404)])


@pytest.mark.parametrize("bucket", ["b", "With_Capitals", "with.dots"])
def test_at_an_endpoint_of_another_server_the_bucket_begins_the_path(bucket, tmp_path):
    with running_object_server() as server:
        server.objects[f"/s3/{bucket}/a%20b%2Bc/%C3%BC%3F%23%25/../~x?versionId=v%3D1%26x"] = StoredObject(CONTENT)
        options = FetchOptions(HttpClient(), None, "r", s3_endpoint=f"{server.url}/s3/", fips=True)
        revision = S3Revision(bucket, "a b+c/ü?#%/../~x", BundleType.TAR, version="v=1&x")
        fetch_s3(revision, str(tmp_path / "bundle"), options=options)


@pytest.mark.parametrize(("bucket", "key"), [("../x", "key"), ("a/b", "key"), ("bucket", "\udcff"), ("bucket", "")])
def test_a_name_that_no_object_can_have_is_refused_unasked(bucket, key, tmp_path):
    with running_object_server() as server:
        options = FetchOptions(HttpClient(), None, "eu-west-1", s3_endpoint=server.url)
        with pytest.raises(BundleError, match="cannot be fetched") as caught:
            fetch_s3(S3Revision(bucket, key, BundleType.TAR), str(tmp_path / "bundle"), options=options)
        assert server.requests == []
    assert "\n" not in str(caught.value)
