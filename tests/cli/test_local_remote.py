"""The local command with bundles in S3 (moto's server) and on GitHub (a stand-in), as its users run it."""

from __future__ import annotations

import io
import json
import os
import tarfile

import pytest

from moto_process import KEYS, client, running_moto
from object_server import Fault, StoredObject, running_server

CLEAN = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "NO_PROXY": "*",
}
"""Nothing of the machine that the tests run on."""


@pytest.fixture(scope="module")
def s3_url():
    with running_moto() as url:
        client(url).create_bucket(Bucket="releases")
        yield url


@pytest.fixture
def site(console):
    """A bundle of the console's revision, as bytes."""

    def pack(prefix=""):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            archive.add(console.bundle, arcname=prefix or ".")
        return buffer.getvalue()

    console.configure(on_premises_config_file=f"{console.top}/codedeploy.onpremises.yml")
    console.revision()
    return pack


@pytest.fixture
def run(console, s3_url):
    def call(*arguments, **env):
        values = {**CLEAN, **KEYS, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": s3_url, **env}
        return console.run(*arguments, env=values)

    return call


def installed(console):
    return os.listdir(console.destination) if os.path.isdir(console.destination) else None


def test_a_bundle_in_s3_is_deployed_with_the_environments_credentials(console, site, run, s3_url):
    client(s3_url).put_object(Bucket="releases", Key="a b/site.tgz", Body=site())
    result = run("-l", "s3://releases/a b/site.tgz", "-t", "tgz")
    assert result.returncode == 0, result.stdout + result.stderr
    assert installed(console) == ["index.html"]
    assert "Local deployment successful" in result.stdout


def test_version_and_etag_in_the_url_choose_and_check_the_object(console, site, run, s3_url):
    s3 = client(s3_url)
    s3.create_bucket(Bucket="versioned")
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="versioned", Key="site.tgz", Body=site())
    s3.put_object(Bucket="versioned", Key="site.tgz", Body=b"something else")
    etag = first["ETag"].strip('"')
    result = run("-l", f"s3://versioned/site.tgz?versionId={first['VersionId']}&etag={etag}", "-t", "tgz")
    assert result.returncode == 0, result.stdout + result.stderr
    assert installed(console) == ["index.html"]
    result = run("-l", f"s3://versioned/site.tgz?etag={etag}", "-t", "tgz")
    assert result.returncode == 1
    assert f"and {etag} was expected" in result.stdout


def test_a_large_upload_in_parts_arrives_whole(console, site, run, s3_url):
    s3 = client(s3_url)
    noise = os.path.join(console.bundle, "app", "noise")
    with open(noise, "wb") as file:
        file.write(os.urandom(12 << 20))
    body = site()
    upload = s3.create_multipart_upload(Bucket="releases", Key="large.tgz")["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(body), 6 << 20), 1):
        part = s3.upload_part(
            Bucket="releases", Key="large.tgz", UploadId=upload, PartNumber=number, Body=body[start : start + (6 << 20)]
        )
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(Bucket="releases", Key="large.tgz", UploadId=upload, MultipartUpload={"Parts": parts})
    result = run("-l", "s3://releases/large.tgz", "-t", "tgz")
    assert result.returncode == 0, result.stdout + result.stderr
    assert sorted(installed(console)) == ["index.html", "noise"]
    assert os.path.getsize(f"{console.destination}/noise") == 12 << 20


def test_the_checksum_that_s3_keeps_is_accepted(console, site, run, s3_url):
    for algorithm in ("SHA256", "CRC32"):
        client(s3_url).put_object(Bucket="releases", Key="sum.tgz", Body=site(), ChecksumAlgorithm=algorithm)
        result = run("-l", "s3://releases/sum.tgz", "-t", "tgz", "--file-exists-behavior", "OVERWRITE")
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("location", "code"), [("s3://releases/none", "NoSuchKey"), ("s3://nobucket/k", "NoSuchBucket")]
)
def test_what_is_not_in_s3_fails_download_bundle_with_its_code(console, site, run, location, code):
    result = run("-l", location, "-t", "zip")
    assert result.returncode == 1
    assert f"S3 in us-east-1 refused {location}: {code}" in result.stdout
    assert "Traceback" not in result.stderr
    assert installed(console) is None


def test_a_dry_run_fetches_the_bundle_and_leaves_nothing_behind(console, site, run, s3_url):
    client(s3_url).put_object(Bucket="releases", Key="dry.tgz", Body=site())
    result = run("-l", "s3://releases/dry.tgz", "-t", "tgz", "--dry-run", TMPDIR=console.top)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{console.destination}/index.html" in result.stdout
    assert installed(console) is None
    assert not os.path.exists(console.root)
    assert not [name for name in os.listdir(console.top) if "dry-run" in name]


def test_the_settings_endpoint_counts_before_the_environments(console, site, run, s3_url):
    client(s3_url).put_object(Bucket="releases", Key="set.tgz", Body=site())
    console.configure(s3_endpoint_override=s3_url)
    result = run("-l", "s3://releases/set.tgz", "-t", "tgz", AWS_ENDPOINT_URL_S3="http://127.0.0.1:1")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture
def noted():
    """A server that notes how it was asked."""
    with running_server() as server:
        yield server


def test_a_profile_gives_credentials_and_region(console, site, run, noted):
    noted.objects["/b/k"] = StoredObject(site())
    for name, text in {
        "config": "[profile ops]\nregion = eu-north-1\n",
        "credentials": "[ops]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = s\n",
    }.items():
        with open(f"{console.top}/{name}", "w") as file:
            file.write(text)
    result = run(
        *("-l", "s3://b/k", "-t", "tgz"),
        AWS_PROFILE="ops",
        AWS_CONFIG_FILE=f"{console.top}/config",
        AWS_SHARED_CREDENTIALS_FILE=f"{console.top}/credentials",
        AWS_REGION="",
        AWS_ACCESS_KEY_ID="",
        AWS_ENDPOINT_URL_S3="",
        AWS_ENDPOINT_URL=noted.url,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Credential=AKIAPROFILE/" in noted.sent("authorization")[0]
    assert "/eu-north-1/s3/" in noted.sent("authorization")[0]


def test_a_profile_that_is_nowhere_is_named(console, site, run, noted):
    result = run("-l", "s3://b/k", "-t", "tgz", AWS_PROFILE="nobody", AWS_REGION="", AWS_ACCESS_KEY_ID="")
    assert result.returncode == 1
    assert "nobody" in result.stdout
    assert "Traceback" not in result.stderr


def test_a_host_outside_ec2_uses_its_on_premises_file(console, site, run, noted):
    noted.objects["/b/k"] = StoredObject(site())
    path = f"{console.top}/codedeploy.onpremises.yml"
    with open(path, "w") as file:
        file.write(
            "region: eu-south-1\niam_user_arn: arn:aws:iam::123456789012:user/host\n"
            "aws_access_key_id: AKIAONPREMISES\naws_secret_access_key: s\n"
        )
    os.chmod(path, 0o600)
    result = run("-l", "s3://b/k", "-t", "tgz", AWS_REGION="", AWS_ACCESS_KEY_ID="", AWS_ENDPOINT_URL_S3=noted.url)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Credential=AKIAONPREMISES/" in noted.sent("authorization")[0]
    assert "/eu-south-1/s3/" in noted.sent("authorization")[0]


def test_without_any_credentials_that_is_the_remedy(console, site, run, noted):
    noted.faults.append(Fault(1, 9, status=403, body=b"<Error><Code>AccessDenied</Code></Error>"))
    result = run("-l", "s3://b/k", "-t", "tgz", AWS_ACCESS_KEY_ID="", AWS_ENDPOINT_URL_S3=noted.url)
    assert result.returncode == 1
    assert "No AWS credentials were found" in result.stdout


def test_a_github_repository_is_deployed_and_its_token_stays_out_of_sight(console, site, run, noted):
    noted.objects["/repos/owner/site/tarball/v1.0"] = StoredObject(site("owner-site-abc"))
    console.configure(github_endpoint_override=noted.url)
    result = run("-l", "https://github.com/owner/site/tree/v1.0", "-t", "tar", CODEDEPLOY_GITHUB_TOKEN="gh-t0k3n")
    assert result.returncode == 0, result.stdout + result.stderr
    assert installed(console) == ["index.html"]
    assert noted.sent("authorization") == ["token gh-t0k3n"]
    for directory, _, names in os.walk(console.top):
        for name in names:
            with open(os.path.join(directory, name), "rb") as file:
                assert b"gh-t0k3n" not in file.read()


def test_a_repository_that_github_does_not_show_is_explained(console, site, run, noted):
    console.configure(github_endpoint_override=noted.url)
    result = run("-l", "https://github.com/owner/site", "-t", "zip", "--json")
    assert result.returncode == 1
    assert "private repository" in json.dumps(json.loads(result.stdout))
