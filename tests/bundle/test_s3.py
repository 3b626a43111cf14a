from __future__ import annotations

import base64
import hashlib
import importlib
import logging
import os
import subprocess
import sys
import threading
import zlib

import pytest

from agent.bundle import download_retries, ranges
from agent.bundle.fetch import FetchOptions, TransientError
from agent.bundle.s3 import fetch_s3
from agent.deployment.spec import BundleType, S3Revision
from agent.errors import BundleError
from agent.network.credentials import Credentials
from agent.network.http import HttpClient, HttpOptions, MinimumRate
from object_server import Fault, StoredObject, running_server

SMALL = b"a small bundle\n" * 100
LARGE = os.urandom(1 << 20) * 45  # one first part and three more


class Store:
    """The server, and downloads from it."""

    def __init__(self, server, directory):
        self.server = server
        self.directory = directory
        self.target = directory / "bundle.tar"
        self.slept = []
        self.steps = []
        self.options = FetchOptions(
            HttpClient(), lambda: Credentials("AKID", "secret", "token"), "eu-west-1", s3_endpoint=server.url
        )

    def put(self, content, **fields):
        self.server.objects["/bucket/key.tar"] = StoredObject(content, **fields)

    def fetch(self, *, version=None, etag=None, **options):
        revision = S3Revision("bucket", "key.tar", BundleType.TAR, version=version, etag=etag)
        return fetch_s3(
            revision,
            str(self.target),
            options=self.options._replace(**options),
            progress=lambda done, total: self.steps.append((done, total)),
            sleep=self.slept.append,
        )

    def refused(self, **options):
        with pytest.raises(BundleError) as caught:
            self.fetch(**options)
        assert os.listdir(self.directory) == []
        return str(caught.value)


@pytest.fixture
def store(tmp_path):
    directory = tmp_path / "deployment"
    directory.mkdir()
    with running_server() as server:
        yield Store(server, directory)


@pytest.mark.parametrize("content", [b"", b"x", SMALL, LARGE[: ranges.FIRST], LARGE[: ranges.FIRST + 1], LARGE])
def test_a_bundle_of_any_size_arrives_whole(store, content):
    store.put(content)
    assert store.fetch() == hashlib.md5(content).hexdigest()
    assert store.target.read_bytes() == content
    assert os.listdir(store.directory) == ["bundle.tar"]
    assert store.target.stat().st_mode & 0o7777 == 0o644
    if content:
        assert store.steps[-1] == (len(content), len(content))
        assert store.steps == sorted(store.steps)


def test_a_small_bundle_costs_one_request_and_a_large_one_comes_in_ranges_of_the_same_object(store):
    store.put(SMALL)
    store.fetch()
    assert store.server.sent("range") == [f"bytes=0-{ranges.FIRST - 1}"]
    store.put(LARGE)
    store.fetch()
    gets = [r for r in store.server.requests[1:] if r.method == "GET"]
    assert len(gets) == 4
    assert {r.headers.get("if-match") for r in gets[1:]} == {store.server.objects["/bucket/key.tar"].etag}


def test_an_older_bundle_of_the_name_is_replaced_even_where_it_is_a_link(store, tmp_path):
    (tmp_path / "elsewhere").write_text("mine")
    store.target.symlink_to(tmp_path / "elsewhere")
    store.put(SMALL)
    store.fetch()
    assert not store.target.is_symlink()
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_requests_are_signed_with_the_token_and_for_the_region(store):
    store.put(SMALL)
    store.fetch()
    (request,) = store.server.requests
    assert "Credential=AKID/" in request.headers["authorization"]
    assert "/eu-west-1/s3/aws4_request" in request.headers["authorization"]
    assert "range" in request.headers["authorization"].split("SignedHeaders=")[1].split(",")[0]
    assert request.headers["x-amz-security-token"] == "token"


def test_credentials_that_are_renewed_during_a_download_are_used_from_then_on(store):
    store.put(LARGE)
    tokens = iter(range(1000))
    store.fetch(credentials=lambda: Credentials("AKID", "secret", f"token{next(tokens)}"))
    seen = store.server.sent("x-amz-security-token")
    assert len(set(seen)) == len(seen) == 5


@pytest.mark.parametrize("region", ["", "eu-west-1.evil.example", "a/b", "EU"])
def test_a_region_that_would_lead_to_another_host_is_refused_unasked(store, region):
    assert "is not an AWS region" in store.refused(region=region, s3_endpoint=None)
    assert store.server.requests == []


def test_without_credentials_a_public_bucket_is_read_unsigned(store):
    store.put(SMALL)
    store.fetch(credentials=None)
    assert store.server.sent("authorization") == [""]


@pytest.mark.parametrize("etag", [None, "", 'W/"weak"'])
@pytest.mark.parametrize("content", [SMALL, LARGE])
@pytest.mark.parametrize("honours_ranges", [True, False])
def test_a_broken_connection_costs_no_bundle(store, content, honours_ranges, etag):
    store.server.honours_ranges = honours_ranges
    store.put(content, etag=etag)
    store.server.faults.append(Fault(1, 1, cut_after=len(content) // 3))
    store.fetch()
    assert store.target.read_bytes() == content


def test_a_broken_connection_is_resumed_from_the_byte_it_had_reached(store):
    store.put(SMALL)
    store.server.faults.append(Fault(1, 1, cut_after=700))
    store.fetch()
    assert store.server.sent("range")[1:] == [f"bytes=700-{len(SMALL) - 1}"]
    assert store.target.read_bytes() == SMALL


def test_a_download_that_gains_a_little_each_time_is_not_given_up(store):
    store.put(SMALL)
    store.server.faults.append(Fault(1, 14, cut_after=100))
    store.fetch()
    assert store.target.read_bytes() == SMALL


def test_a_download_that_gains_nothing_is_given_up_after_growing_pauses(store):
    store.put(SMALL)
    store.server.faults.append(Fault(1, 99, cut_after=0))
    assert "broke" in store.refused()
    assert len(store.server.requests) == download_retries.ATTEMPTS.attempts
    assert store.slept == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0], rel=0.25)


def test_a_connection_that_goes_silent_is_left_and_resumed(store):
    store.put(SMALL)
    store.server.faults.append(Fault(1, 1, cut_after=600, stall=True))
    store.fetch(stall=0.2)
    assert store.target.read_bytes() == SMALL


def test_a_connection_that_drips_is_left_and_resumed(store):
    store.put(SMALL)
    store.server.faults.append(Fault(1, 1, cut_after=600, drip=True))
    store.fetch(http=HttpClient(HttpOptions(minimum_rate=MinimumRate(10**6, 0.5))))
    assert store.target.read_bytes() == SMALL


@pytest.mark.parametrize("fault", [Fault(1, 10**6, cut_after=0, drip=True), Fault(1, 10**6, cut_after=1)])
def test_a_download_that_only_drips_is_given_up_although_each_attempt_may_gain_a_byte(store, fault):
    store.put(SMALL)
    store.server.faults.append(fault)
    store.refused(http=HttpClient(HttpOptions(minimum_rate=MinimumRate(10**9, 0.05))))
    assert len(store.server.requests) < len(SMALL)


@pytest.mark.parametrize(
    ("took", "gained", "is_given_up"), [(0, 1, True), (20, 10 * 1024, True), (20, 30 * 1024, False)]
)
def test_a_download_that_breaks_again_and_again_goes_on_only_at_the_least_rate(took, gained, is_given_up):
    now = [0.0]

    def wait(seconds):
        now[0] += seconds

    retries = download_retries.DownloadRetries("x", wait, now=lambda: now[0])

    def go_on():
        for _ in range(1000):
            wait(took)
            retries.gained(gained)
            retries.failed(TransientError("It broke."))

    if is_given_up:
        with pytest.raises(TransientError):
            go_on()
    else:
        go_on()


@pytest.mark.parametrize("first", [1, 3])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"<Error><Code>InternalError</Code></Error>"),
        (503, b""),
        (400, b"<Error><Code>RequestTimeout</Code></Error>"),
    ],
)
def test_faults_that_pass_are_waited_out(store, first, status, body):
    store.put(LARGE)
    store.server.faults.append(Fault(first, first + 1, status=status, body=body))
    store.fetch()
    assert store.target.read_bytes() == LARGE
    assert store.slept


def test_when_one_range_fails_for_good_the_download_ends_and_leaves_nothing(store):
    store.put(LARGE)
    store.server.faults.append(Fault(3, 99, status=403, body=b"<Error><Code>AccessDenied</Code></Error>"))
    assert "AccessDenied" in store.refused()


def test_a_server_that_forgets_about_ranges_on_the_way_costs_no_bundle(store):
    store.put(LARGE)
    store.server.faults.append(Fault(2, 2, act=lambda: setattr(store.server, "honours_ranges", False)))
    store.fetch()
    assert store.target.read_bytes() == LARGE


def test_a_bundle_replaced_on_the_way_is_never_mixed_but_fetched_anew(store):
    newer = os.urandom(1 << 20) * 44
    store.put(LARGE)
    store.server.faults.append(Fault(2, 2, act=lambda: store.put(newer)))
    assert store.fetch() == hashlib.md5(newer).hexdigest()
    assert store.target.read_bytes() == newer


def test_a_bundle_that_is_replaced_again_and_again_fails_with_the_reason(store):
    store.put(LARGE)
    count = iter(range(1000))
    store.server.faults.append(
        Fault(2, 99, act=lambda: store.put(LARGE, etag=f'"{next(count)}"') if next(count) % 2 == 0 else None)
    )
    assert "replaced" in store.refused()


@pytest.mark.parametrize("etag", [None, "", 'W/"1"'])
@pytest.mark.parametrize("number", [1, 2])
def test_parts_of_two_objects_are_never_put_together_though_nothing_heeds_if_match(store, etag, number):
    # As behind a cache. A download without a strong ETag comes in one piece, and begins anew where that breaks.
    newer = bytes(reversed(LARGE))
    store.server.honours_if_match = False
    store.put(LARGE, etag=etag)
    replace = Fault(number + 1, number + 1, act=lambda: store.put(newer, etag='W/"2"' if etag else None))
    store.server.faults += [Fault(1, number, cut_after=1000), replace]
    assert store.fetch() == ("2" if etag else hashlib.md5(newer).hexdigest())
    assert store.target.read_bytes() == newer


@pytest.mark.parametrize("quoted", ['"{}"', "{}"])
def test_the_etag_of_the_revision_is_compared_without_quotes(store, quoted):
    store.put(SMALL)
    store.fetch(etag=quoted.format(hashlib.md5(SMALL).hexdigest()))
    assert store.target.read_bytes() == SMALL


def test_another_object_than_the_revisions_is_refused_by_its_etag(store):
    store.put(SMALL)
    text = store.refused(etag="deadbeef")
    assert "deadbeef" in text
    assert hashlib.md5(SMALL).hexdigest() in text


def test_an_object_without_an_etag_is_not_taken_for_the_revisions(store):
    store.put(SMALL, etag="")
    text = store.refused(etag="deadbeef")
    assert "deadbeef" in text
    assert "without an ETag" in text
    store.fetch()


def checksum(algorithm, content):
    digest = (
        zlib.crc32(content).to_bytes(4, "big") if algorithm == "crc32" else hashlib.new(algorithm, content).digest()
    )
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize("algorithm", ["crc32", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_content_that_fits_its_checksum_is_taken(store, algorithm, content):
    store.put(content, headers={f"x-amz-checksum-{algorithm}": checksum(algorithm, content)})
    store.fetch()
    assert store.target.read_bytes() == content
    assert set(store.server.sent("x-amz-checksum-mode")) == {"ENABLED"}


@pytest.mark.parametrize("algorithm", ["crc32", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_content_that_does_not_fit_its_checksum_is_fetched_once_more_and_then_refused(store, algorithm, content):
    store.put(content, headers={f"x-amz-checksum-{algorithm}": checksum(algorithm, b"other")})
    assert "damaged" in store.refused()
    assert len([r for r in store.server.requests if r.headers.get("range", "").startswith("bytes=0-")]) == 2


MULTIPART = f'"{"0a" * 16}-3"'


@pytest.mark.parametrize("algorithm", ["crc32", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize("content", [SMALL, LARGE])
@pytest.mark.parametrize(
    ("suffix", "kind", "etag"),
    [("-3", None, None), ("", "COMPOSITE", None), ("-3", "COMPOSITE", MULTIPART), ("", None, MULTIPART)],
    ids=["by its form", "by its type", "as S3 sends it", "without form and type"],
)
def test_a_checksum_of_parts_is_not_taken_for_one_of_the_content(store, algorithm, content, suffix, kind, etag):
    headers = {f"x-amz-checksum-{algorithm}": checksum(algorithm, b"other") + suffix}
    store.put(content, headers=headers | ({"x-amz-checksum-type": kind} if kind else {}), etag=etag)
    store.fetch()
    assert store.target.read_bytes() == content


def test_a_multipart_upload_is_compared_where_its_checksum_is_that_of_the_content(store):
    kind = {"x-amz-checksum-type": "FULL_OBJECT"}
    store.put(LARGE, headers=kind | {"x-amz-checksum-crc32": checksum("crc32", LARGE)}, etag=MULTIPART)
    store.fetch()
    assert store.target.read_bytes() == LARGE
    store.target.unlink()
    store.put(LARGE, headers=kind | {"x-amz-checksum-crc32": checksum("crc32", b"other")}, etag=MULTIPART)
    assert "damaged" in store.refused()


def test_a_bucket_of_another_region_is_asked_there(store):
    store.put(SMALL)
    for answer in (
        Fault(1, 1, status=301, headers=(("x-amz-bucket-region", "ap-south-1"),)),
        Fault(
            3,
            3,
            status=400,
            body=b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>ap-south-1</Region></Error>",
        ),
    ):
        store.server.faults.append(answer)
        store.fetch()
        assert "/eu-west-1/s3/" in store.server.sent("authorization")[-2]
        assert "/ap-south-1/s3/" in store.server.sent("authorization")[-1]


def test_a_bucket_that_is_sent_around_between_regions_is_given_up(store):
    store.put(SMALL)
    store.server.faults.append(
        Fault(1, 99, status=301, body=b"<Error><Code>PermanentRedirect</Code><Region>us-west-2</Region></Error>")
    )
    assert "PermanentRedirect" in store.refused()
    assert len(store.server.requests) == 2


def test_a_temporary_redirect_within_the_endpoint_is_followed_and_one_to_elsewhere_is_not(store):
    store.put(SMALL)
    store.server.objects["/other/place"] = store.server.objects["/bucket/key.tar"]
    store.server.faults.append(Fault(1, 1, status=307, headers=(("Location", f"{store.server.url}/other/place"),)))
    store.fetch()
    assert store.server.requests[1].path == "/other/place"
    store.target.unlink()
    store.server.faults.append(Fault(3, 3, status=307, headers=(("Location", "http://localhost:1/x"),)))
    assert "307" in store.refused()


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (404, "NoSuchKey", "lifecycle rule"),
        (404, "NoSuchBucket", "partition"),
        (404, "NoSuchVersion", "Register"),
        (403, "AccessDenied", "s3:GetObject on arn:aws:s3:::bucket/key.tar"),
        (403, "RequestTimeTooSkewed", "clock"),
        (400, "ExpiredToken", "renew"),
        (403, "InvalidAccessKeyId", "access key"),
        (403, "InvalidObjectState", "restore"),
        (400, "KMS.DisabledException", "KMS"),
    ],
)
def test_what_s3_refuses_is_told_with_place_code_and_remedy(store, status, code, says):
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>It &amp; that</Message></Error>".encode()
    store.server.faults.append(Fault(1, 99, status=status, body=body))
    text = store.refused()
    assert f"S3 in eu-west-1 refused s3://bucket/key.tar: {code}: It & that." in text
    assert says in text
    assert store.slept == []


def test_an_object_version_needs_its_own_permission_and_is_named(store):
    body = b"<Error><Code>AccessDenied</Code></Error>"
    store.server.faults.append(Fault(1, 99, status=403, body=body))
    text = store.refused(version="v/1")
    assert "s3:GetObjectVersion" in text
    assert "(version v/1)" in text
    assert store.server.requests[0].path == "/bucket/key.tar?versionId=v%2F1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe<Error>",
        b"<html>" + b"x" * 100_000,
        b'<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><Error><Code>&d;\x1b[31m</Code></Error>',
    ],
)
def test_whatever_comes_in_place_of_an_error_is_told_by_its_status_or_as_plain_text(store, body):
    store.server.faults.append(Fault(1, 99, status=404, body=body))
    text = store.refused()
    assert "refused s3://bucket/key.tar" in text
    assert text.isprintable()


@pytest.mark.parametrize(
    "value", ["bytes 5-99/100", "bytes 0-99/50", "bytes */100", "nonsense", "bytes 0-1/" + "9" * 40]
)
def test_an_answer_with_another_range_than_the_one_asked_for_is_refused(store, value):
    store.server.faults.append(Fault(1, 99, status=206, body=b"x" * 100, headers=(("Content-Range", value),)))
    assert "range" in store.refused()


def test_an_object_larger_than_the_disk_is_refused_before_it_is_fetched(store):
    huge = f"bytes 0-99/{1 << 59}"
    headers = (("Content-Range", huge), ("ETag", '"e"'))
    store.server.faults.append(Fault(1, 99, status=206, body=b"x" * 100, headers=headers))
    text = store.refused()
    assert "no room" in text
    assert "PiB" in text
    assert len(store.server.requests) == 1


def test_an_endpoint_that_nobody_serves_is_named(store):
    text = store.refused(s3_endpoint="http://127.0.0.1:1")
    assert "s3://bucket/key.tar cannot be fetched: No connection to 127.0.0.1:1" in text


def test_the_bundle_is_closed_to_others_where_the_layout_says_so(store):
    store.put(SMALL)
    revision = S3Revision("bucket", "key.tar", BundleType.TAR)
    fetch_s3(revision, str(store.target), options=store.options, mode=0o600)
    assert store.target.stat().st_mode & 0o7777 == 0o600


def test_an_interrupt_leaves_no_file_and_no_thread_that_writes(store):
    store.put(LARGE)
    store.server.faults.append(Fault(2, 99, cut_after=1000, stall=True))
    revision = S3Revision("bucket", "key.tar", BundleType.TAR)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_s3(revision, str(store.target), options=store.options._replace(stall=0.3), progress=interrupt)
    assert os.listdir(store.directory) == []
    for thread in threading.enumerate():
        if thread.name == "fetch":
            thread.join()


def test_secrets_are_in_no_message_and_no_log(store, caplog):
    caplog.set_level(logging.DEBUG)
    store.put(LARGE)
    store.server.faults.append(Fault(2, 3, status=500))
    store.fetch()
    assert "s3://bucket/key.tar" in caplog.text
    assert "secret" not in caplog.text
    assert "token" not in caplog.text


def test_a_checksum_that_this_host_cannot_compute_costs_no_bundle(store, caplog):
    caplog.set_level(logging.DEBUG)
    store.put(SMALL, headers={"x-amz-checksum-xxhash64": "AAAAAAAAAAA="})
    store.fetch()
    assert "The xxhash64 of the object cannot be computed on this host, and is not compared" in caplog.text


@pytest.fixture(scope="session")
def common_runtime(tmp_path_factory) -> str:
    """The directory of a package that no other test must find, because botocore loads it wherever it is."""
    directory = str(tmp_path_factory.mktemp("awscrt"))
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", directory, "awscrt"], check=True)
    return directory


@pytest.mark.soak_only
@pytest.mark.parametrize(("algorithm", "length"), [("crc32c", 4), ("crc64nvme", 8)])
@pytest.mark.parametrize("is_right", [True, False])
def test_s3s_own_checksums_are_compared_where_the_aws_common_runtime_is_there(
    store, common_runtime, monkeypatch, algorithm, length, is_right
):
    monkeypatch.syspath_prepend(common_runtime)
    for name in ("awscrt", "awscrt.checksums", "_awscrt"):  # no later test may find it loaded
        monkeypatch.setitem(sys.modules, name, importlib.import_module(name))
    checksums = sys.modules["awscrt.checksums"]
    value = getattr(checksums, algorithm)(SMALL if is_right else b"other").to_bytes(length, "big")
    store.put(SMALL, headers={f"x-amz-checksum-{algorithm}": base64.b64encode(value).decode()})
    if is_right:
        store.fetch()
    else:
        assert f"its {algorithm.upper()} is" in store.refused()
