from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import subprocess
import sys
import tarfile

import pytest

from agent.bundle.fetch import FetchOptions
from agent.deployment.spec import BundleType, GitHubRevision, LocalRevision, S3Revision
from agent.network.credentials import Credentials
from agent.network.http import HttpClient
from agent.steps.execute import execute
from agent.steps.hook_command import variables
from agent_host import revision, specification
from command_service import command_service
from install_trace import KILL, Fault
from object_server import StoredObject, running_server
from worker_runs import WorkerHost

APPSPEC = "version: 0.0\nos: linux\n"
MODES = {"open": 0o644, "run.sh": 0o755}


def bundle(files=None, *, compressed=True):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if compressed else "w") as archive:
        for name, text in {"appspec.yml": APPSPEC, **(files or {})}.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), MODES.get(name, 0o640)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture
def server():
    with running_server() as found:
        yield found


class Remote:
    """Deployments of one bundle in S3."""

    def __init__(self, bench, server):
        self.bench = bench
        self.server = server
        self.content = bundle({"app.txt": "hello"})
        self.etag = hashlib.md5(self.content).hexdigest()
        server.objects["/b/site.tgz"] = StoredObject(self.content)
        self.options = FetchOptions(
            HttpClient(), lambda: Credentials("A", "S"), "eu-west-1", s3_endpoint=server.url, github_endpoint=server.url
        )

    def download(self, deployment, **fields):
        fields = {"revision": S3Revision("b", "site.tgz", BundleType.TGZ), **fields}
        host = self.bench.host._replace(remote=lambda: self.options)
        return execute("DownloadBundle", self.bench.spec(deployment, **fields), host)

    def path(self, deployment, name):
        return os.path.join(self.bench.layout.deployment("g", deployment), name)

    def read(self, deployment, name):
        with open(self.path(deployment, name), "rb") as file:
            return file.read().decode()

    def mode(self, deployment, name):
        return os.lstat(self.path(deployment, name)).st_mode & 0o7777


@pytest.fixture
def remote(bench, server):
    return Remote(bench, server)


def test_a_bundle_from_s3_is_fetched_unpacked_and_noted(remote):
    outcome = remote.download("d-1")
    assert outcome.message == "Succeeded: BundleSource=downloaded"
    assert remote.read("d-1", "deployment-archive/app.txt") == "hello"
    assert remote.read("d-1", ".bundle-source") == "downloaded"
    assert remote.read("d-1", ".bundle-etag") == remote.etag
    assert remote.mode("d-1", "bundle.tar") == 0o644
    size = len(remote.content)
    assert (size, size, "bytes") in remote.bench.observer.steps


def test_with_closed_directories_the_bundle_is_closed_too(remote):
    remote.bench.settings = remote.bench.settings._replace(restrict_agent_dir_permissions=True)
    assert remote.download("d-1").succeeded
    assert [remote.mode("d-1", name) for name in ("bundle.tar", ".bundle-source", ".bundle-etag")] == [0o600] * 3


READER = """
import json, os, sys
os.setgroups([])
os.setgid(12345)
os.setuid(12345)
def can_read(path):
    try:
        os.close(os.open(path, os.O_RDONLY))
    except PermissionError:
        return False
    return True
top, *paths = sys.argv[1:]
print(json.dumps([[place for place, *_ in os.walk(top) if can_read(place)], [*filter(can_read, paths)]]))
"""


def read_by_another_account(top):
    """Return what another account finds below a directory, and what it can read if it knows every name there."""
    paths = [os.path.join(place, name) for place, directories, files in os.walk(top) for name in (*directories, *files)]
    done = subprocess.run([sys.executable, "-ISc", READER, top, *paths], capture_output=True, text=True, check=True)
    found, readable = json.loads(done.stdout)
    return found, {os.path.relpath(path, top) for path in readable}


def deploy_as_games(open_bench, server, deployment, **settings):
    """Deploy a revision with a script for games, while the agent's umask closes nothing."""
    open_bench.settings = open_bench.settings._replace(**settings)
    remote = Remote(open_bench, server)
    appspec = f"{APPSPEC}files: [{{source: open, destination: {open_bench.destination}}}]\n"
    appspec += "hooks: {AfterInstall: [{location: run.sh, runas: games}]}\n"
    server.objects["/b/site.tgz"] = StoredObject(
        bundle({"appspec.yml": appspec, "run.sh": "#!/bin/sh\nid -un\n", "open": "", "secret": ""})
    )
    before = os.umask(0)
    try:
        assert remote.download(deployment).succeeded
        for event in ("Install", "AfterInstall"):
            outcome = execute(event, open_bench.spec(deployment), open_bench.host)
            assert outcome.succeeded, outcome.message
    finally:
        os.umask(before)
    assert open_bench.observer.lines[-1] == ("stdout", b"games\n")


@pytest.mark.needs("root", "users")
def test_another_account_reads_nothing_below_a_restricted_root_but_what_the_bundle_opens(open_bench, server):
    root = open_bench.layout.root_dir
    deploy_as_games(open_bench, server, "d-1")
    found, readable = read_by_another_account(root)
    assert f"{root}/deployment-instructions" in found
    assert {"g/d-1/bundle.tar", "deployment-instructions/g-cleanup"} <= readable
    deploy_as_games(open_bench, server, "d-2", restrict_agent_dir_permissions=True)
    found, readable = read_by_another_account(root)
    assert found == []
    archives = [f"g/{deployment}/deployment-archive" for deployment in ("d-1", "d-2")]
    assert readable == {f"{archive}/{name}" for archive in archives for name in ("open", "run.sh")}


def test_a_commit_of_github_is_unpacked_whatever_its_tarball_is_compressed_with(remote):
    remote.server.objects["/repos/o/r/tarball/abc"] = StoredObject(bundle({"app.txt": "hub"}))
    outcome = remote.download(
        "d-1", revision=GitHubRevision("o", "r", "abc", BundleType.TAR), github_access_token="t0k"
    )
    assert outcome.succeeded
    assert remote.read("d-1", "deployment-archive/app.txt") == "hub"
    assert remote.server.sent("authorization") == ["token t0k"]
    assert not os.path.exists(remote.path("d-1", ".bundle-etag"))


def test_a_bundle_that_cannot_be_fetched_is_the_outcome(remote):
    outcome = remote.download("d-1", revision=S3Revision("b", "other", BundleType.TGZ))
    assert (outcome.error_code, "NoSuchKey" in outcome.message) == (5, True)
    assert not os.path.exists(remote.path("d-1", "deployment-archive"))


def test_a_failed_download_leaves_an_archive_of_the_same_deployment_as_it_was(remote):
    assert remote.download("d-1").succeeded
    assert not remote.download("d-1", revision=S3Revision("b", "other", BundleType.TGZ)).succeeded
    assert remote.read("d-1", "deployment-archive/app.txt") == "hello"
    assert remote.read("d-1", ".bundle-etag") == remote.etag


def test_without_a_way_to_s3_that_is_said(bench):
    outcome = execute("DownloadBundle", bench.spec("d-1", revision=S3Revision("b", "k", BundleType.TAR)), bench.host)
    assert (outcome.error_code, "no way to S3" in outcome.message) == (5, True)


def test_scripts_see_the_etag_of_the_download_where_the_revision_names_none(remote):
    script = "#!/bin/sh\necho etag=$BUNDLE_ETAG\n"
    remote.bench.settings = remote.bench.settings._replace(enable_deployments_log=False)
    assert remote.download("d-1").succeeded
    archive = remote.path("d-1", "deployment-archive")
    with open(f"{archive}/show.sh", "w") as file:
        file.write(script)
    os.chmod(f"{archive}/show.sh", 0o755)
    with open(f"{archive}/appspec.yml", "a") as file:
        file.write("hooks:\n  AfterInstall:\n    - location: show.sh\n")
    for etag, seen in ((None, remote.etag), ('"given"', '"given"')):
        revision = S3Revision("b", "site.tgz", BundleType.TGZ, etag=etag)
        assert execute("AfterInstall", remote.bench.spec("d-1", revision=revision), remote.bench.host).succeeded
        assert ("stdout", f"etag={seen}\n".encode()) in remote.bench.observer.lines


def test_a_bundle_of_no_etag_gives_no_variable(bench):
    spec = bench.spec("d-1", revision=S3Revision("b", "k", BundleType.TAR))
    assert "BUNDLE_ETAG" not in variables("AfterInstall", spec)


# RESTART deployments: a revision that is on the host already.


def prepared(remote):
    assert remote.download("d-OLD").succeeded
    archive = remote.path("d-OLD", "deployment-archive")
    os.mkdir(f"{archive}/deep")
    os.chmod(f"{archive}/deep", 0o751)
    with open(f"{archive}/deep/tool", "w") as file:
        file.write("x")
    os.chmod(f"{archive}/deep/tool", 0o757)
    os.symlink("deep/tool", f"{archive}/link")
    remote.server.requests.clear()
    return archive


def test_a_restart_uses_the_revision_that_is_here_and_downloads_nothing(remote):
    prepared(remote)
    outcome = remote.download("d-NEW", reuse_archive_from="d-OLD")
    assert outcome.message == "Succeeded: BundleSource=archive-reuse"
    assert remote.server.requests == []
    assert remote.read("d-NEW", "deployment-archive/app.txt") == "hello"
    assert remote.read("d-NEW", ".bundle-source") == "archive-reuse"
    assert remote.read("d-NEW", ".bundle-etag") == remote.etag
    assert os.path.samefile(remote.path("d-NEW", "bundle.tar"), remote.path("d-OLD", "bundle.tar"))
    assert os.readlink(remote.path("d-NEW", "deployment-archive/link")) == "deep/tool"
    assert not os.path.samefile(
        remote.path("d-NEW", "deployment-archive/app.txt"), remote.path("d-OLD", "deployment-archive/app.txt")
    )
    layout = remote.bench.layout
    with open(layout.most_recent("g")) as file:
        assert file.read() == layout.deployment("g", "d-NEW")


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_revision_that_is_used_again_keeps_its_modes_whatever_the_umask(remote, umask):
    prepared(remote)
    before = os.umask(umask)
    try:
        assert remote.download("d-NEW", reuse_archive_from="d-OLD").succeeded
    finally:
        os.umask(before)
    names = ("deployment-archive/app.txt", "deployment-archive/deep", "deployment-archive/deep/tool")
    assert [remote.mode("d-NEW", name) for name in names] == [0o640, 0o751, 0o757]
    assert remote.mode("d-NEW", "deployment-archive") == 0o755


def gone(remote, archive):
    os.rename(archive, f"{archive}-gone")


def emptied(remote, archive):
    gone(remote, archive)
    os.mkdir(archive)


def without_appspec(remote, archive):
    os.unlink(f"{archive}/appspec.yml")


def elsewhere(remote, archive):
    os.rename(archive, f"{remote.bench.top}/elsewhere")
    os.symlink(f"{remote.bench.top}/elsewhere", archive)


def with_a_pipe(remote, archive):
    os.mkfifo(f"{archive}/pipe")


def switched_off(remote, archive):
    remote.bench.settings = remote.bench.settings._replace(enable_archive_reuse=False)


def links_refused(remote, archive):
    remote.bench.settings = remote.bench.settings._replace(reject_symlinks_in_bundle=True)


def setuid_refused(remote, archive):
    remote.bench.settings = remote.bench.settings._replace(reject_unsafe_permissions_in_bundle=True)
    os.chmod(f"{archive}/app.txt", 0o4755)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (gone, "not there"),
        (emptied, "not there"),
        (without_appspec, "AppSpec"),
        (elsewhere, "leads out"),
        (with_a_pipe, "pipe"),
        (switched_off, "enable_archive_reuse"),
        (links_refused, "reject_symlinks_in_bundle"),
        (setuid_refused, "reject_unsafe_permissions_in_bundle"),
    ],
)
def test_a_revision_that_may_not_be_used_again_is_downloaded_and_the_log_says_why(remote, caplog, change, reason):
    caplog.set_level(logging.INFO)
    change(remote, prepared(remote))
    outcome = remote.download("d-NEW", reuse_archive_from="d-OLD")
    assert outcome.message == "Succeeded: BundleSource=downloaded"
    assert remote.read("d-NEW", ".bundle-source") == "downloaded"
    assert sorted(os.listdir(remote.path("d-NEW", "deployment-archive"))) == ["app.txt", "appspec.yml"]
    assert reason in caplog.text
    assert "is not used again, but downloaded" in caplog.text


@pytest.mark.parametrize("source", ["d-NEW", "d-old", "x-OLD", "../d-OLD", "d-OLD/..", "d-" + "A" * 63, "d-"])
def test_an_id_that_is_none_is_not_used(remote, source):
    prepared(remote)
    outcome = remote.download("d-NEW", reuse_archive_from=source)
    assert outcome.message == "Succeeded: BundleSource=downloaded"


def test_a_revision_that_retention_has_just_removed_is_downloaded(remote):
    prepared(remote)
    remote.bench.settings = remote.bench.settings._replace(max_revisions=1)
    assert remote.download("d-NEW", reuse_archive_from="d-OLD").message == "Succeeded: BundleSource=downloaded"


def test_a_local_bundle_that_is_used_again_stays_a_link(remote, tmp_path):
    (tmp_path / "site.tgz").write_bytes(remote.content)
    revision = LocalRevision(str(tmp_path / "site.tgz"), BundleType.TGZ)
    assert remote.download("d-OLD", revision=revision).succeeded
    assert remote.download("d-NEW", revision=revision, reuse_archive_from="d-OLD").message.endswith("archive-reuse")
    assert os.readlink(remote.path("d-NEW", "bundle.tar")) == str(tmp_path / "site.tgz")


def test_a_local_deployment_leaves_only_what_the_official_agent_leaves(remote, tmp_path):
    (tmp_path / "site.tgz").write_bytes(remote.content)
    assert remote.download("d-1", revision=LocalRevision(str(tmp_path / "site.tgz"), BundleType.TGZ)).succeeded
    assert sorted(os.listdir(remote.path("d-1", ""))) == ["bundle.tar", "deployment-archive"]


# What a kill leaves.


def test_the_room_that_a_killed_download_took_is_free_before_the_next_one(bench):
    directory = bench.layout.deployment("g", "d-KILLED")
    os.makedirs(f"{directory}/.deployment-archive.unpacking~/half")
    with open(f"{directory}/.bundle.tar.new~", "w") as file:
        file.write("x")
    assert execute("DownloadBundle", bench.spec("d-1", bench.revision("one", {"a": "1"})), bench.host).succeeded
    assert os.listdir(directory) == []


@pytest.mark.needs("tracing")
def test_a_killed_download_leaves_nothing_but_its_failure(tmp_path):
    with command_service() as service:
        host = WorkerHost(str(tmp_path / "host"), service)
        command = host.take_on("DownloadBundle", specification(revision(tmp_path / "one", {}, to=tmp_path / "out")))
        host.work(command, faults=[Fault(KILL, "syncfs", 1)])
        directory = host.layout.deployment("group-1", "d-1")
        assert sorted(os.listdir(directory)) == [".deployment-archive.unpacking~", ".history.jsonl"]
        host.work(command)
        assert os.listdir(directory) == [".history.jsonl"]
        assert service.completion("command-0001")["error_code"] == 7
