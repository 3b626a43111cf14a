"""The service's unit: systemd takes it, and what it promises about processes holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DIRECTORY = Path(__file__).resolve().parents[2] / "systemd"
UNIT = DIRECTORY / "codedeploy-agent.service"
EXAMPLES = sorted((DIRECTORY / "examples").glob("*.conf"))
DROP_INS = [path for path in EXAMPLES if path.name != "logrotate.conf"]

KEPT_FREE = (
    "NoNewPrivileges",
    "CapabilityBoundingSet",
    "ProtectSystem",
    "ProtectHome",
    "PrivateTmp",
    "PrivateMounts",
    "PrivateDevices",
    "PrivateNetwork",
    "PrivateUsers",
    "DynamicUser",
    "ProtectKernelTunables",
    "ProtectKernelModules",
    "ProtectControlGroups",
    "RestrictNamespaces",
    "RestrictSUIDSGID",
    "RestrictRealtime",
    "RestrictAddressFamilies",
    "SystemCallFilter",
    "SystemCallArchitectures",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "ReadOnlyPaths",
    "OOMScoreAdjust",
    "MemoryMax",
    "ExecStop",
)
"""What hooks inherit and could not do their work with; ExecStop would delay a stop."""


def settings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def unit() -> dict[str, list[str]]:
    return settings(UNIT.read_text())


def complaints(directory: Path, *, drop_in: str | None = None) -> list[str]:
    """What systemd says about the unit in a directory, with one drop-in beside it."""
    if not (directory / UNIT.name).exists():
        shutil.copy(UNIT, directory)
    if drop_in is not None:
        (directory / f"{UNIT.name}.d").mkdir()
        (directory / f"{UNIT.name}.d" / "ours.conf").write_text(drop_in)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", directory / UNIT.name],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{directory}:"},
    )
    return [line for line in done.stderr.splitlines() if "codedeploy" in line or str(directory) in line]


@pytest.mark.needs_tool("systemd-analyze")
def test_systemd_has_nothing_to_say_about_it(tmp_path: Path) -> None:
    assert complaints(tmp_path) == []


@pytest.mark.needs_tool("systemd-analyze")
@pytest.mark.parametrize("example", DROP_INS, ids=lambda path: path.name)
def test_systemd_has_nothing_to_say_about_the_examples(tmp_path: Path, example: Path) -> None:
    assert complaints(tmp_path, drop_in=example.read_text()) == []


@pytest.mark.needs_tool("systemd-analyze")
def test_a_mistake_in_the_unit_or_in_a_drop_in_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / UNIT.name).write_text(UNIT.read_text().replace("KillMode=process", "KillMode=proces"))
    found = complaints(tmp_path, drop_in="[Service]\nRestart=alwys\n")
    assert len(found) == 2, found


@pytest.mark.needs_tool("systemd-analyze")
@pytest.mark.parametrize("example", ["", "hardened.conf"])
def test_its_exposure_is_known(tmp_path: Path, example: str) -> None:
    text = UNIT.read_text()
    if example:
        text = text.replace("[Install]", (DIRECTORY / "examples" / example).read_text() + "\n[Install]")
    (tmp_path / UNIT.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", tmp_path / UNIT.name],
        capture_output=True,
        text=True,
    )
    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    limit = 8.6 if example else 9.7
    assert float(found[1]) <= limit, done.stdout


def test_what_hooks_do_is_not_in_its_way(unit) -> None:
    assert not set(KEPT_FREE) & set(unit)
    text = UNIT.read_text()
    silent = [name for name in KEPT_FREE if name not in text]
    assert not silent, "a comment says of each why it is left out"


def test_it_is_restarted_whatever_ended_it_and_never_given_up(unit) -> None:
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert float(unit["RestartSec"][0]) >= 1


def test_a_deployment_and_the_application_outlive_it(unit) -> None:
    assert unit["KillMode"] == ["process"]
    assert unit["OOMPolicy"] == ["continue"]
    assert "ExecStop" not in unit


def test_the_watchdog_waits_longer_than_an_answer_may_take(unit) -> None:
    from agent.config.settings import Settings

    assert unit["Type"] == ["notify"]
    assert float(unit["WatchdogSec"][0]) > 2 * Settings().http_read_timeout


def test_no_setting_is_given_twice(unit) -> None:
    assert {key: values for key, values in unit.items() if len(values) > 1} == {}


def test_settings_that_older_systems_do_not_know_are_kept_apart(unit) -> None:
    apart = settings((DIRECTORY / "restart-steps.conf").read_text())
    assert set(apart) == {"RestartSteps", "RestartMaxDelaySec"}
    assert not set(apart) & set(unit)


def test_the_agent_becomes_the_main_process_with_the_profiles_variables(unit, tmp_path: Path) -> None:
    (tmp_path / "profile").write_text("PATH=/from/the/profile:$PATH\nSITE=here\necho noise\nfalse\n")
    agent = tmp_path / "codedeploy-agent"
    agent.write_text('#!/bin/sh\necho "$$ $1 $SITE $PATH"\n')
    agent.chmod(0o755)
    (command,) = unit["ExecStart"]
    program, option, flag, script = re.fullmatch(r"(\S+) (\S+) (\S+) '(.*)'", command).groups()
    script = script.replace("/etc/profile", str(tmp_path / "profile"))
    script = script.replace("/opt/codedeploy-agent/bin/codedeploy-agent", str(agent))
    process = subprocess.Popen([program, option, flag, script], stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate()
    assert output.splitlines()[0] == "noise"
    identity, verb, site, path = output.splitlines()[1].split(" ", 3)
    assert (int(identity), verb, site) == (process.pid, "start", "here")
    assert path.startswith("/from/the/profile:")


def test_a_host_without_a_profile_starts_it_too(unit, tmp_path: Path) -> None:
    (command,) = unit["ExecStart"]
    script = re.fullmatch(r"\S+ \S+ \S+ '(.*)'", command)[1]
    script = script.replace("/etc/profile", str(tmp_path / "none")).replace("/opt/codedeploy-agent/bin/", "echo ")
    done = subprocess.run(["/bin/bash", "-a", "-c", script], capture_output=True, text=True)
    assert done.stdout == "codedeploy-agent start\n"


def test_the_installer_knows_the_same_file_names() -> None:
    from agent.fleet import places

    assert UNIT.name == places.SERVICE
    assert f"{places.BIN}/codedeploy-agent start" in UNIT.read_text()
    assert f"WorkingDirectory=-{places.HOME}\n" in UNIT.read_text()


def test_logrotate_renames_and_the_agent_opens_anew(unit) -> None:
    example = (DIRECTORY / "examples" / "logrotate.conf").read_text()
    assert not re.search(r"^\s*copytruncate", example, re.MULTILINE)
    assert "systemctl reload codedeploy-agent.service" in example
    assert unit["ExecReload"] == ["/bin/bash -c 'kill -HUP $MAINPID'"]


def test_it_needs_no_program_that_a_small_system_lacks(unit) -> None:
    commands = [command for key, values in unit.items() if key.startswith("Exec") for command in values]
    assert len(commands) == 2
    assert {command.split()[0] for command in commands} == {"/bin/bash"}
