from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from agent.cli.main import main
from agent.daemon.pause import read_pause
from agent.store.bindings import Bindings
from host_records import EVENTS, HostRecords


@pytest.fixture
def records(tmp_path: Path) -> HostRecords:
    (tmp_path / "agent.yml").write_text(json.dumps({"root_dir": str(tmp_path / "root")}))
    return HostRecords(tmp_path / "root")


def typed(records: HostRecords, *words: str) -> int:
    return main([*words, "--config-file", f"{records.layout.root_dir}/../agent.yml"])


def test_a_pause_says_what_it_means_and_a_resume_ends_it(
    records: HostRecords, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    records.deployment("d-1", events=EVENTS[:2])
    Bindings(records.layout).bind("x", "DownloadBundle", deployment_id="d-1", group_id="g")
    assert typed(records, "pause", "--reason", "the database\nmoves", "--for", "2h") == 0
    printed = capfd.readouterr().out
    assert printed.startswith("New deployments wait: the agent is paused until ")
    assert " by alice: the database moves\n" in printed
    assert "d-1 has begun here, and goes on." in printed
    found = read_pause(records.layout, now=time.time())
    assert found is not None
    assert found.until - found.since == 7200
    assert typed(records, "resume") == 0
    assert typed(records, "resume") == 0
    assert capfd.readouterr().out == "New deployments are taken on again.\nThe agent was not paused.\n"
    assert read_pause(records.layout, now=0.0) is None


@pytest.mark.parametrize(
    "words", ["", "--reason=", "--reason a --for 2", "--reason a --for 0h", "--reason a --for -1h"]
)
def test_a_pause_without_a_reason_or_with_a_time_that_is_none_is_refused(records: HostRecords, words: str) -> None:
    assert typed(records, "pause", *words.split()) == 64
    assert read_pause(records.layout, now=0.0) is None
