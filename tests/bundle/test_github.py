from __future__ import annotations

import os

import pytest

from agent.bundle.fetch import FetchOptions
from agent.bundle.github import fetch_github
from agent.deployment.spec import BundleType, GitHubRevision
from agent.errors import BundleError
from agent.network.http import HttpClient, HttpOptions, MinimumRate
from agent.retry import Clock
from object_server import Fault, StoredObject, running_server

ARCHIVE = b"\x1f\x8b archive " * 1000
TARBALL = "/repos/owner/site/tarball/abc123"


class Hub:
    """The server in the place of GitHub, another one in that of its download host, and downloads."""

    def __init__(self, server, directory):
        self.server = server
        self.directory = directory
        self.target = directory / "bundle.tar"
        self.slept = []
        self.options = FetchOptions(HttpClient(), None, "", github_endpoint=server.url)

    def fetch(self, *, commit="abc123", kind=BundleType.TAR, token="s3cr3t", **options):
        fetch_github(
            GitHubRevision("owner", "site", commit, kind),
            str(self.target),
            token=token,
            options=self.options._replace(**options),
            clock=Clock(self.slept.append, random=lambda: 0.0),
        )

    def refused(self, **options):
        with pytest.raises(BundleError) as caught:
            self.fetch(**options)
        assert os.listdir(self.directory) == []
        assert "s3cr3t" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def hub(tmp_path):
    directory = tmp_path / "deployment"
    directory.mkdir()
    with running_server() as server:
        server.objects[TARBALL] = StoredObject(ARCHIVE)
        yield Hub(server, directory)


@pytest.mark.parametrize(
    ("kind", "form"), [(BundleType.TAR, "tarball"), (BundleType.TGZ, "tarball"), (BundleType.ZIP, "zipball")]
)
def test_a_commit_is_fetched_in_the_form_of_the_bundles_type(hub, kind, form):
    hub.server.objects[f"/repos/owner/site/{form}/feature/a%20b"] = StoredObject(ARCHIVE)
    hub.fetch(kind=kind, commit="feature/a b")
    assert hub.target.read_bytes() == ARCHIVE
    assert hub.target.stat().st_mode & 0o7777 == 0o644
    assert hub.server.sent("authorization") == ["token s3cr3t"]


def test_a_public_repository_needs_no_token(hub):
    hub.fetch(token=None)
    assert hub.server.sent("authorization") == [""]


def test_the_token_does_not_follow_a_redirect_to_another_host(hub):
    with running_server() as other:
        other.objects["/legacy.tar.gz/abc"] = StoredObject(ARCHIVE)
        hub.server.faults.append(Fault(1, 1, status=302, headers=(("Location", f"{other.url}/legacy.tar.gz/abc"),)))
        hub.fetch()
        assert other.sent("authorization") == [""]
    assert hub.target.read_bytes() == ARCHIVE


def test_a_renamed_repository_is_followed_on_the_same_host_with_the_token(hub):
    hub.server.objects["/repositories/7/tarball"] = StoredObject(ARCHIVE)
    hub.server.faults.append(Fault(1, 1, status=301, headers=(("Location", "/repositories/7/tarball"),)))
    hub.fetch()
    assert hub.server.sent("authorization") == ["token s3cr3t"] * 2


@pytest.mark.parametrize("location", ["http://example.invalid/x", "ftp://example.invalid/x", "file:///etc/passwd"])
def test_a_redirect_into_the_open_is_not_followed(hub, location):
    hub.server.faults.append(Fault(1, 9, status=302, headers=(("Location", location),)))
    assert "https" in hub.refused()
    assert len(hub.server.requests) == 1


def test_redirects_without_end_are_given_up(hub):
    hub.server.faults.append(Fault(1, 99, status=302, headers=(("Location", TARBALL),)))
    assert "redirects" in hub.refused()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(1, 3, status=500),
        Fault(1, 3, status=502),
        Fault(1, 3, status=429),
        Fault(1, 3, status=403, headers=(("x-ratelimit-remaining", "0"),)),
        Fault(1, 3, status=403, body=b'{"message": "You have exceeded a secondary rate limit"}'),
        Fault(1, 3, cut_after=50),
    ],
)
def test_faults_that_pass_are_waited_out_as_the_official_agent_does(hub, fault):
    hub.server.faults.append(fault)
    hub.fetch()
    assert hub.slept == [10, 30, 90]
    assert hub.target.read_bytes() == ARCHIVE


@pytest.mark.parametrize(("fault", "says"), [(Fault(1, 99, status=503), "503"), (Fault(1, 99, cut_after=5), "broke")])
def test_faults_that_stay_fail_after_the_last_attempt(hub, fault, says):
    hub.server.faults.append(fault)
    assert says in hub.refused()
    assert hub.slept == [10, 30, 90]


def test_an_archive_that_drips_is_given_up_after_the_last_attempt(hub):
    hub.server.faults.append(Fault(1, 99, cut_after=50, drip=True))
    client = HttpClient(HttpOptions(minimum_rate=MinimumRate(10**6, 0.1)))
    assert "sent only" in hub.refused(http=client)
    assert hub.slept == [10, 30, 90]


@pytest.mark.parametrize(
    ("status", "token", "says"),
    [
        (404, None, "no token"),
        (404, "s3cr3t", "organisation"),
        (401, "s3cr3t", "token is not valid"),
        (403, "s3cr3t", "single sign-on"),
        (410, "s3cr3t", "410"),
    ],
)
def test_what_github_refuses_is_explained_at_once(hub, status, token, says):
    hub.server.faults.append(Fault(1, 99, status=status, body=b"{}"))
    text = hub.refused(token=token)
    assert "owner/site at abc123" in text
    assert says in text
    assert hub.slept == []


def test_an_empty_archive_is_refused(hub):
    hub.server.objects[TARBALL] = StoredObject(b"")
    assert "empty archive" in hub.refused()


@pytest.mark.parametrize("commit", ["..", "a/../b", "", "a//b"])
def test_a_commit_that_would_change_the_path_is_refused_unasked(hub, commit):
    assert "names" in hub.refused(commit=commit)
    assert hub.server.requests == []
