"""The lines of the log by which programs find deployments and failures."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from agent.deployment.outcome import Outcome, success
from agent.deployment.spec import BundleType, DeploymentSpecification, GitHubRevision, S3Revision
from agent.errors import DiagnosticCode
from agent.steps import event_log
from agent.store.layout import Layout
from agent.store.pointers import write_most_recent

S3 = S3Revision("bucket", "web/app.tgz", BundleType.TGZ, version="v7")
SPEC = DeploymentSpecification("d-NEW", "g-1", "Web", "Shop", S3)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "agent")
    return caplog


def text(lines: pytest.LogCaptureFixture) -> tuple[str, str]:
    (line,) = lines.records
    return line.levelname, line.getMessage()


def test_the_first_line_of_a_deployment_says_what_is_deployed_and_by_whom(lines, layout: Layout) -> None:
    event_log.deployment_began(SPEC, layout)
    said = "Deployment d-NEW of Shop/Web (IN_PLACE, created by user): s3://bucket/web/app.tgz?versionId=v7"
    assert text(lines) == ("INFO", said)


def test_a_rollback_names_the_deployment_that_it_takes_back(lines, layout: Layout) -> None:
    write_most_recent(layout, "g-1", layout.deployment("g-1", "d-BAD"))
    commit = GitHubRevision("me", "shop", "abc123", BundleType.TAR)
    spec = SPEC._replace(deployment_creator="codeDeployRollback", revision=commit)
    event_log.deployment_began(spec, layout)
    assert text(lines)[1] == (
        "Deployment d-NEW of Shop/Web (IN_PLACE, created by codeDeployRollback, rollback of d-BAD):"
        " https://github.com/me/shop commit abc123"
    )


def test_a_failed_script_is_an_error_with_its_last_lines_and_the_path_of_all_of_them(lines, tmp_path: Path) -> None:
    log = "LifecycleEvent - AfterInstall\nScript - a.sh\n" + "".join(f"[stdout]{number}\n" for number in range(7))
    outcome = Outcome(DiagnosticCode.SCRIPT_FAILED, "a.sh", "Script a.sh failed with exit code 3.", log)
    (tmp_path / "scripts.log").touch()
    event_log.ended("AfterInstall", outcome, seconds=3.42, output=str(tmp_path / "scripts.log"))
    assert text(lines) == (
        "ERROR",
        "AfterInstall failed in 3.4 s: Script a.sh failed with exit code 3 (last lines: [stdout]2 | [stdout]3 |"
        f" [stdout]4 | [stdout]5 | [stdout]6; output: {tmp_path}/scripts.log)",
    )


def test_a_flood_of_output_makes_no_endless_line(lines) -> None:
    outcome = Outcome(DiagnosticCode.SCRIPT_FAILED, "a.sh", "It failed.", "[stdout]" + "x" * 2000)
    event_log.ended("AfterInstall", outcome, seconds=0, output="/nowhere/scripts.log")
    assert len(text(lines)[1]) < 600


def test_what_is_not_a_scripts_failure_points_to_no_output(lines, tmp_path: Path) -> None:
    event_log.ended(
        "Install", Outcome(DiagnosticCode.UNKNOWN_ERROR, message="No space."), seconds=1, output=str(tmp_path)
    )
    assert text(lines) == ("ERROR", "Install failed in 1.0 s: No space.")


def test_one_pattern_finds_each_end_of_an_event(lines) -> None:
    event_log.started("Install")
    event_log.skipped("AfterInstall", "the AppSpec has no script for it")
    event_log.ended("Install", success(), seconds=1.26)
    event_log.deployment_ended("d-1", event="AfterAllowTraffic", succeeded=True)
    event_log.deployment_ended("d-1", event="Install", succeeded=False)
    said = [line.getMessage() for line in lines.records]
    assert said == [
        "Install started",
        "AfterInstall skipped: the AppSpec has no script for it",
        "Install succeeded in 1.3 s",
        "Deployment d-1 ended: Succeeded",
        "Deployment d-1 ended: Failed in Install",
    ]
    assert {line.levelname for line in lines.records} == {"INFO"}
    assert all(
        re.match(r"(Deployment )?\S+ (started|skipped: |succeeded in |failed in |ended: )", line) for line in said
    )
