"""A status that stays true where the disk takes nothing any more, and says so itself."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent.config.settings import Settings
from agent.daemon.document import document
from agent.daemon.health import judge
from agent.daemon.pidfile import PidFile
from agent.daemon.status_file import FRESH_FOR, StatusFile, status_files


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root_dir=str(tmp_path / "root"), pid_dir=str(tmp_path / "pid"))


@pytest.fixture
def status(settings: Settings) -> Iterator[StatusFile]:
    with PidFile(settings.pid_dir):
        made = StatusFile(settings)
        yield made
        made.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory that is soon full."""
    directory = tmp_path / "root"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", directory], check=True)
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def fill(directory: Path) -> None:
    with suppress(OSError), open(directory / "ballast", "wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            continue


def test_each_poll_is_in_the_status_at_once(settings: Settings, status: StatusFile) -> None:
    status.write_if_due()
    status.polled(0.25)
    found = document(settings)
    assert (found["state"], found["round_trip"]) == ("running", 0.25)
    assert time.time() - found["last_success"] < FRESH_FOR
    assert json.loads(Path(settings.root_dir, "agent-state", "status.json").read_text()).get("last_success") is None


@pytest.mark.needs("root", "mount")
@pytest.mark.parametrize("end", ["full", "read-only"])
def test_a_root_dir_that_takes_nothing_is_part_of_the_status(
    settings: Settings, status: StatusFile, small_disk: Path, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    status.write_if_due()
    if end == "full":
        fill(small_disk)
    else:
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    caplog.set_level(logging.INFO)
    for number in range(3):  # whatever changes makes it write
        status.note(host_identifier=f"arn:{number}")
        status.polled(0.1)
        status.write_if_due()
    found = document(settings)
    assert found["host_identifier"] == "arn:2"
    assert time.time() - found["last_success"] < FRESH_FOR
    text = os.strerror(errno.ENOSPC if end == "full" else errno.EROFS)
    assert text in found["problem"]["text"]
    keys = {finding.key for finding in judge(found, time.time())}
    assert {"root_dir", "disk" if end == "full" else "read-only"} <= keys
    assert len(caplog.records) == 1, caplog.text  # the cause, once
    if end == "full":
        (small_disk / "ballast").unlink()
    else:
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    status.note(host_identifier="arn:3")
    status.write_if_due()
    assert document(settings)["problem"] is None
    assert "takes the agent's status file again, after" in caplog.text


def test_a_root_dir_that_is_gone_is_a_problem_and_stops_nothing(settings: Settings, status: StatusFile) -> None:
    Path(settings.root_dir).write_text("")
    status.write_if_due()
    assert "cannot be made" in document(settings)["problem"]["text"]


def test_a_stopped_agent_leaves_nothing_in_memory(settings: Settings, status: StatusFile) -> None:
    status.write_if_due()
    live = status_files(settings, os.getpid())[0 if os.geteuid() == 0 else 1]
    assert os.path.exists(live)
    status.close()
    assert not os.path.exists(live)


@pytest.mark.needs("root")
def test_what_a_killed_agent_has_left_in_memory_is_removed_by_the_next(settings: Settings, status: StatusFile) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    left = Path(status_files(settings, ended.pid)[0])
    left.parent.mkdir(exist_ok=True)
    left.write_text("{}")
    StatusFile(settings)
    assert not left.exists()


@pytest.mark.needs("root")
@pytest.mark.parametrize(("restricted", "mode"), [(False, 0o644), (True, 0o600)])
def test_the_status_in_memory_is_for_every_user_unless_logs_are_not(
    settings: Settings, restricted: bool, mode: int
) -> None:
    status = StatusFile(settings._replace(restrict_log_dir_permissions=restricted))
    status.write_if_due()
    found = os.stat(status_files(settings, os.getpid())[0]).st_mode & 0o777
    status.close()
    assert found == mode
