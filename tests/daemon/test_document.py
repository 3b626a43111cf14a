"""The document of an agent that this one did not start: another kind, another directory, another user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.config.settings import Settings
from agent.daemon.document import document, find_agent
from agent.daemon.health import judge
from agent.daemon.pause import Paused, write_pause
from agent.daemon.pidfile import NAME, PidFile, PidFileError, claim_root_directory, is_official_agent
from agent.daemon.status_file import StatusFile
from agent.runtime.host import layout_of
from agent.store.skips import ask_for_skip
from other_user import command_as
from stand_in_agent import running_agent
from waiting import until


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root_dir=str(tmp_path / "root"), pid_dir=str(tmp_path / "pid"))


def keys(settings: Settings) -> set[str]:
    return {finding.key for finding in judge(document(settings), time.time())}


def test_an_agent_that_was_killed_is_told_from_one_that_was_stopped(settings: Settings) -> None:
    assert document(settings)["state"] == "stopped"
    with running_agent(settings.pid_dir) as agent:
        assert document(settings)["state"] == "running"
        agent.kill()
        agent.wait()
        found = document(settings)
    assert (found["state"], found["running"], found["pid"]) == ("dead", False, None)


def test_an_official_agent_without_a_lock_is_recognised(settings: Settings, tmp_path: Path) -> None:
    program = tmp_path / "codedeploy-agent"
    program.symlink_to(sys.executable)
    code = "import time; time.sleep(1000)"
    with subprocess.Popen([program, "-c", code, "start"]) as agent:
        try:
            os.makedirs(settings.pid_dir)
            Path(settings.pid_dir, NAME).write_text(f"{agent.pid}\n")
            # A process that has just been started has no command line for a moment.
            until(lambda: is_official_agent(agent.pid), "the process to show its name")
            found = document(settings)
            assert (found["state"], found["running"], found["pid"]) == ("official", True, agent.pid)
            assert "official-agent" in keys(settings)
        finally:
            agent.kill()


def test_a_status_file_of_another_process_is_named_and_not_believed(settings: Settings) -> None:
    state = Path(layout_of(settings).state)
    state.mkdir(parents=True)
    (state / "status.json").write_text(json.dumps({"pid": 1, "version": "9", "written": time.time()}))
    with running_agent(settings.pid_dir) as agent:
        found = document(settings)
        (finding,) = [finding for finding in judge(found, time.time()) if finding.key == "status-file"]
    assert found["version"] is None
    assert f"no status file of PID {agent.pid} can be read ({state}/status.json is of PID 1)" in finding.text


def test_an_agent_with_another_pid_dir_on_the_same_root_dir_is_found(settings: Settings) -> None:
    with claim_root_directory(layout_of(settings)):
        assert document(settings)["other_agent"] == os.getpid()
        assert "other-agent" in keys(settings)
    assert document(settings)["other_agent"] is None


def test_a_pause_and_a_skip_are_known_while_no_agent_runs(settings: Settings) -> None:
    layout = layout_of(settings)
    write_pause(layout, Paused("the database moves", time.time(), by="alice"))
    ask_for_skip(layout, "g-1", "ApplicationStop", "alice")
    found = document(settings)
    assert (found["state"], found["paused"]["reason"]) == ("stopped", "the database moves")
    assert found["skips"] == {"g-1": ["ApplicationStop"]}
    assert "paused" in keys(settings)


def test_memory_and_processor_time_of_the_agent_are_measured(settings: Settings) -> None:
    with running_agent(settings.pid_dir):
        used = document(settings)["resources"]
    assert used["processes"] == 1
    assert used["memory_bytes"] > 2**20


CODE = """
import json
from agent.config.settings import Settings
from agent.daemon.document import document
settings = Settings(root_dir=sys.argv[1], pid_dir=sys.argv[2])
print(json.dumps(document(settings)))
"""


@pytest.mark.needs("root", "users")
def test_another_user_sees_what_the_agent_publishes_and_is_told_the_rest(settings: Settings, tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:3]):  # as /opt and /run are open
        if str(directory).startswith("/tmp/"):
            os.chmod(directory, 0o755)
    with PidFile(settings.pid_dir):
        status = StatusFile(settings)
        status.note(in_hand=[{"deployment": "d-1", "event": "AfterInstall", "since": 5.0}], version="9.9")
        status.polled(0.1)
        status.write_if_due()
        result = subprocess.run(
            command_as(65534, 65534, CODE, settings.root_dir, settings.pid_dir), capture_output=True, text=True
        )
        status.close()
    found = json.loads(result.stdout)
    assert (found["running"], found["state"], found["version"]) == (True, "running", "9.9")
    assert [row["deployment"] for row in found["in_progress"]] == ["d-1"]
    assert any(text.startswith("the commands in progress") for text in found["not_seen"])
    assert any(text.startswith("the agent's lock") for text in found["not_seen"])


def test_a_dead_agent_whose_lock_cannot_be_opened_is_unknown(settings: Settings) -> None:
    os.makedirs(f"{settings.pid_dir}/{NAME}.lock")
    with pytest.raises(PidFileError):
        find_agent(settings, [])
