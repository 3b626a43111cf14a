"""The ``deployments`` command as a person types it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent.cli.main import main
from host_records import HostRecords


class Typed:
    """A host with a configuration, and what its commands have printed."""

    def __init__(self, directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.records = HostRecords(directory / "root")
        self._config = directory / "agent.yml"
        self._config.write_text(json.dumps({"root_dir": str(directory / "root"), "max_revisions": 3}))
        self._capfd = capfd

    def run(self, *words: str, status: int = 0) -> str:
        """Run ``deployments`` with these words; return what it printed, errors too."""
        self._capfd.readouterr()
        given = main(["deployments", *words, "--config-file", str(self._config)])
        printed = "".join(self._capfd.readouterr())
        assert given == status, printed
        return printed


@pytest.fixture
def typed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Typed:
    return Typed(tmp_path, capfd)


def test_the_list_says_what_went_well_what_failed_and_why(typed: Typed) -> None:
    typed.records.point(typed.records.layout.last_successful("g"), typed.records.deployment("d-GOOD"))
    typed.records.deployment("d-BAD", fails="AfterInstall")
    printed = typed.run()
    assert printed == typed.run("list") == typed.run("list", "Web")
    assert "Group Web (g), application Shop" in printed
    assert "d-GOOD             succeeded " in printed
    assert "s3://releases/d-GOOD.zip (version 3), IN_PLACE by user, installed last" in printed
    assert "failed at AfterInstall: Script scripts/a.sh of AfterInstall failed." in printed
    assert printed.index("d-BAD") < printed.index("d-GOOD")
    assert max(map(len, printed.splitlines())) < 160


def test_a_host_without_deployments_says_so(typed: Typed) -> None:
    assert "No deployment is known below" in typed.run()


def test_one_deployment_shows_its_events_its_failure_and_its_files(typed: Typed) -> None:
    typed.records.point(typed.records.layout.last_successful("g"), typed.records.deployment("d-GOOD"))
    typed.records.installed([f"/srv/{number}" for number in range(30)])
    typed.records.deployment("d-BAD", fails="AfterInstall")
    printed = typed.run("show", "d-G")
    assert "Files installed: 30" in printed
    assert "and 10 more" in printed
    assert "ValidateService     succeeded" in printed
    printed = typed.run("show", "d-B")
    assert "Failed at AfterInstall: Script scripts/a.sh of AfterInstall failed." in printed
    assert "  | last" in printed
    assert "Files installed" not in printed


def test_programs_get_the_same_as_json(typed: Typed) -> None:
    typed.records.point(typed.records.layout.last_successful("g"), typed.records.deployment("d-GOOD"))
    typed.records.installed(["/srv/a"])
    listed = json.loads(typed.run("list", "--json"))
    row = listed["groups"][0]["deployments"][0]
    assert (row["outcome"], row["last_successful"], row["revision"]["bucket"]) == ("succeeded", True, "releases")
    shown = json.loads(typed.run("show", "d-GOOD", "--json"))
    assert shown["files_installed"] == ["/srv/a"]
    assert [event["name"] for event in shown["events"]][-1] == "ValidateService"
    assert row.keys() < shown.keys()


def test_what_differs_between_two_revisions_is_printed(typed: Typed) -> None:
    typed.records.deployment("d-1", files={"appspec.yml": "version: 0.0\nos: linux\n", "gone": "1"})
    typed.records.deployment("d-2", files={"appspec.yml": "version: 0.0\nos: linux\n", "new": "1"})
    printed = typed.run("diff", "d-1", "d-2")
    assert "  + new\n  - gone\n" in printed
    assert "1 added, 1 removed, 0 changed" in printed
    assert json.loads(typed.run("diff", "d-1", "d-2", "--json"))["added"] == ["new"]
    assert "the same" in typed.run("diff", "d-1", "d-1")


def test_prune_says_what_it_removes_and_how_much(typed: Typed) -> None:
    for number in range(5):
        typed.records.deployment(f"d-{number}")
    assert "Would remove 2 of the revisions" in typed.run("prune", "--dry-run")
    printed = typed.run("prune", "--json", "Web")
    assert [os.path.basename(row["path"]) for row in json.loads(printed)["groups"][0]["removed"]] == ["d-0", "d-1"]
    assert "Removed 1 of the revisions" in typed.run("prune", "--keep", "2")
    assert "No group has a revision to remove" in typed.run("prune", "--keep", "2")


def test_a_skip_is_asked_for_shown_and_taken_back(typed: Typed) -> None:
    typed.records.deployment("d-1")
    assert "skips ApplicationStop" in typed.run("retry-skip", "Web")
    assert "The next deployment skips ApplicationStop" in typed.run()
    assert "will not be skipped" in typed.run("retry-skip", "g", "--cancel")
    assert "skips" not in typed.run()


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        ("show", 64, "the id of a deployment"),
        ("diff d-1", 64, "the ids of two deployments"),
        ("list a b", 64, "at most one group"),
        ("list --dry-run", 64, "--dry-run is for deployments prune"),
        ("prune --keep 0", 64, "not a whole number"),
        ("retry-skip Web --event Install", 64, "invalid choice"),
        ("retry-skip Web --json", 64, "prints no JSON"),
        ("bogus", 64, "invalid choice"),
        ("show d-NONE", 1, "knows no deployment"),
        ("retry-skip nowhere", 1, "knows no deployment group"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(typed: Typed, words: str, status: int, reason: str) -> None:
    typed.records.deployment("d-1")
    assert reason in typed.run(*words.split(), status=status)


def test_a_removed_revision_cannot_be_compared(typed: Typed) -> None:
    directory = typed.records.deployment("d-1")
    os.rmdir(typed.records.layout.archive(directory))
    assert "not on this host" in typed.run("diff", "d-1", "d-1", status=1)
