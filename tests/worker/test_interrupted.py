"""Ending what a killed worker has left, and nobody else's process that has got the same number."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.filesystem.boot import boot_id
from agent.hooks import processes
from agent.store.commands import Progress
from agent.store.layout import Layout
from agent.store.script_logs import ScriptLog
from agent.worker.interrupted import interrupted

LAYOUT = Layout("/nowhere")


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group of its own, as a script and its script supervisor do."""
    with subprocess.Popen(["sleep", "3600"], start_new_session=True) as process:
        yield process
        process.kill()


def started(process: subprocess.Popen[bytes]) -> int:
    found = processes.look_up(process.pid)
    assert found is not None
    return found.start_time


@pytest.mark.parametrize("role", ["supervisor", "script"])
def test_a_process_that_has_got_the_number_of_a_script_or_its_supervisor_is_left_alone(other, role: str) -> None:
    numbers = {f"{role}_pid": other.pid, f"{role}_start_time": started(other) - 1}
    outcome = interrupted("Install", Progress(boot_id(), script="a.sh", **numbers), LAYOUT, reason="it was killed")
    assert "was still running" not in outcome.message
    assert other.poll() is None


def test_numbers_of_an_earlier_boot_mean_nobody(other) -> None:
    progress = Progress("another", script="a.sh", supervisor_pid=other.pid, supervisor_start_time=started(other))
    interrupted("Install", progress, LAYOUT, reason="it was killed")
    assert other.poll() is None


@pytest.mark.parametrize("role", ["supervisor", "script"])
def test_what_is_left_of_a_script_is_ended(other, role: str) -> None:
    numbers = {f"{role}_pid": other.pid, f"{role}_start_time": started(other)}
    outcome = interrupted("Install", Progress(boot_id(), script="a.sh", **numbers), LAYOUT, reason="it was killed")
    assert "was still running and was ended" in outcome.message
    assert other.wait() == -signal.SIGTERM


def test_of_a_script_without_a_supervisor_what_ignores_the_end_is_killed() -> None:
    command = ["sh", "-c", 'trap "" TERM; echo ready; while :; do sleep 1; done']
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        progress = Progress(boot_id(), script="a.sh", script_pid=process.pid, script_start_time=started(process))
        interrupted("Install", progress, LAYOUT, reason="it was killed")
        assert process.wait() == -signal.SIGKILL


def test_the_scripts_log_says_that_an_orphaned_script_was_ended(other, tmp_path) -> None:
    layout = Layout(str(tmp_path))
    numbers = {"script_pid": other.pid, "script_start_time": started(other)}
    progress = Progress(boot_id(), script="a.sh", deployment_id="d-1", group_id="g", **numbers)
    interrupted("AfterInstall", progress, layout, reason="it was killed")
    text = Path(layout.script_log(layout.deployment("g", "d-1"))).read_text()
    assert text.endswith(" End - a.sh: stopped, because its worker had ended\n")


def test_the_report_has_the_end_of_the_scripts_log_without_its_times(tmp_path) -> None:
    layout = Layout(str(tmp_path))
    log = ScriptLog(layout, layout.deployment("g", "d-1"))
    log.header("LifecycleEvent - AfterInstall")
    for number in range(500):
        log.output("stdout", b"2026-11-23 is line %d\n" % number)
    log.header("End - a.sh: exit code 0 after 0.1 s")
    log.close()
    progress = Progress(boot_id(), deployment_id="d-1", group_id="g")
    lines = interrupted("AfterInstall", progress, layout, reason="it was killed").log.splitlines()
    assert lines == [f"[stdout]2026-11-23 is line {number}" for number in range(500 - len(lines), 500)]
    assert 2048 - 2 * len(lines[0]) < sum(len(line) + 1 for line in lines) <= 2048
