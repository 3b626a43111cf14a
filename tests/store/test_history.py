"""What a deployment did is written down for people, and costs no event where the disk refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.deployment.outcome import Outcome, success
from agent.deployment.spec import BundleType, DeploymentSpecification, GitHubRevision
from agent.errors import DiagnosticCode
from agent.store.history import History, read_history
from agent.store.layout import RESTRICTED, Layout

GITHUB = GitHubRevision("octo", "app", "abc123", BundleType.TAR)
SPEC = DeploymentSpecification("d-1", "g", "Web", "Shop", GITHUB, github_access_token="ghp_secret")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "root"))


def lines(layout: Layout) -> list[dict[str, object]]:
    return read_history(layout, layout.deployment("g", "d-1"))


def test_each_event_has_its_start_its_end_and_what_its_deployment_is(layout: Layout) -> None:
    history = History(layout)
    history.started(SPEC, "AfterInstall")
    history.ended("g", "d-1", "AfterInstall", Outcome(DiagnosticCode.SCRIPT_FAILED, "a.sh", "It failed.", "last\n"))
    start, end = lines(layout)
    assert (start["event"], start["application"], start["group_name"]) == ("AfterInstall", "Shop", "Web")
    assert start["revision"] == {
        "kind": "github",
        "account": "octo",
        "repository": "app",
        "commit_id": "abc123",
        "bundle_type": "tar",
    }
    assert (end["status"], end["code"], end["script"], end["message"], end["log"]) == (
        "Failed",
        4,
        "a.sh",
        "It failed.",
        "last\n",
    )
    assert float(str(end["ended"])) >= float(str(start["started"]))


def test_the_token_of_a_deployment_is_not_written_down(layout: Layout) -> None:
    History(layout).started(SPEC, "DownloadBundle")
    assert "secret" not in Path(layout.history(layout.deployment("g", "d-1"))).read_text()


def test_an_end_makes_no_directory_that_retention_would_count(layout: Layout) -> None:
    History(layout).ended("g", "d-1", "ApplicationStop", success())
    assert not os.path.exists(layout.group("g"))


def test_what_is_added_does_not_make_a_deployment_look_newer(layout: Layout) -> None:
    history = History(layout)
    history.started(SPEC, "DownloadBundle")
    directory = layout.deployment("g", "d-1")
    os.utime(directory, (1_000_000_000, 1_000_000_000))
    history.ended("g", "d-1", "DownloadBundle", success())
    assert os.stat(directory).st_mtime == 1_000_000_000


def test_a_damaged_line_hides_no_other(layout: Layout) -> None:
    history = History(layout)
    history.started(SPEC, "DownloadBundle")
    with open(layout.history(layout.deployment("g", "d-1")), "ab") as file:
        file.write(b'{"version": 1, "event": "Install", "sta\n[1]\n\xff\n')
    history.ended("g", "d-1", "DownloadBundle", success())
    assert [line["event"] for line in lines(layout)] == ["DownloadBundle", "DownloadBundle"]


def test_a_path_that_cannot_be_written_is_reported_once_and_fails_nothing(
    layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    os.makedirs(layout.history(layout.deployment("g", "d-1")))
    history = History(layout)
    history.started(SPEC, "DownloadBundle")
    history.ended("g", "d-1", "DownloadBundle", success())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "history of the deployment d-1 is not complete" in caplog.text


def test_a_closed_directory_has_a_closed_history(layout: Layout) -> None:
    closed = layout._replace(modes=RESTRICTED)
    History(closed).started(SPEC, "DownloadBundle")
    assert os.stat(closed.history(closed.deployment("g", "d-1"))).st_mode & 0o777 == 0o600


def test_an_event_that_the_service_had_closed_says_so(layout: Layout) -> None:
    history = History(layout)
    history.started(SPEC, "DownloadBundle")
    history.ended("g", "d-1", "BeforeInstall", None, closed_as="Succeeded")
    last = lines(layout)[-1]
    assert (last["event"], last["status"], last["closed_as"]) == ("BeforeInstall", "Closed", "Succeeded")
