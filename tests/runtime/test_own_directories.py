"""No account leads the agent to other files than its own, by a directory of the agent's that lies in the account's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config.settings import Settings
from agent.errors import ConfigError
from agent.identity.identity import HostIdentity
from agent.runtime.own_directories import ALL, check_own_directories
from agent.worker.handoff import EXIT_UNREPORTED, Handoff

pytestmark = pytest.mark.needs("root")

APP = 12345


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root_dir=f"{tmp_path}/root", log_dir=f"{tmp_path}/log", pid_dir=f"{tmp_path}/pid")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return the directory of an account."""
    path = tmp_path / "home"
    path.mkdir()
    os.chown(path, APP, APP)
    return path


def in_home(settings: Settings, home: Path, name: str) -> Settings:
    return settings._replace(**{name: f"{home}/agent"})


def test_directories_that_are_roots_all_the_way_are_fine(settings: Settings) -> None:
    check_own_directories(settings)
    for name in ALL:
        os.mkdir(getattr(settings, name))
    check_own_directories(settings)


@pytest.mark.parametrize("name", ALL)
def test_a_directory_below_an_accounts_is_refused_and_says_the_ways_out(
    settings: Settings, home: Path, name: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_own_directories(in_home(settings, home, name))
    text = str(caught.value)
    assert text.startswith(f"The {name} {home}/agent is not safe: {home} belongs to user id {APP}")
    assert f"give {home} to root" in text
    assert "unsafe_links: follow" in text
    os.mkdir(home / "agent")
    with pytest.raises(ConfigError):
        check_own_directories(in_home(settings, home, name))


@pytest.mark.parametrize("name", ALL)
def test_an_accounts_link_to_roots_directory_is_refused(
    settings: Settings, home: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "roots").mkdir()
    (home / "agent").symlink_to(tmp_path / "roots")
    os.chown(home / "agent", APP, APP, follow_symlinks=False)
    # A link of root's in that directory would not help, so the directory is named.
    with pytest.raises(ConfigError, match=f"{home} belongs to"):
        check_own_directories(in_home(settings, home, name))


@pytest.mark.parametrize("name", ["root_dir", "pid_dir"])
def test_an_accounts_directory_is_not_believed(settings: Settings, name: str) -> None:
    os.mkdir(getattr(settings, name))
    os.chown(getattr(settings, name), APP, APP)
    with pytest.raises(ConfigError, match=name):
        check_own_directories(settings)


def test_a_log_directory_may_be_given_to_the_account_that_reads_the_logs(settings: Settings) -> None:
    os.mkdir(settings.log_dir)
    os.chown(settings.log_dir, APP, APP)
    check_own_directories(settings)


@pytest.mark.parametrize("name", ALL)
def test_the_setting_brings_the_official_behaviour_back(settings: Settings, home: Path, name: str) -> None:
    check_own_directories(in_home(settings, home, name)._replace(unsafe_links="follow"))


@pytest.mark.parametrize("name", ALL)
def test_the_agent_and_a_local_deployment_do_not_start_there(
    settings: Settings, home: Path, tmp_path: Path, name: str, program: Callable[[str], str]
) -> None:
    unsafe = in_home(settings, home, name)
    (tmp_path / "revision").mkdir()
    (tmp_path / "revision/appspec.yml").write_text("version: 0.0\nos: linux\n")
    (tmp_path / "agent.yml").write_text("".join(f"{key}: {getattr(unsafe, key)}\n" for key in ALL))
    config = ["--config-file", f"{tmp_path}/agent.yml"]
    for command in (
        [program("codedeploy-agent"), "start", *config],
        [program("codedeploy-local"), *config, "--bundle-location", f"{tmp_path}/revision", "--type", "directory"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 1
        assert f"The {name} {home}/agent is not safe" in done.stdout + done.stderr
    assert os.listdir(home) == []
    assert sorted(os.listdir(tmp_path)) == ["agent.yml", "home", "revision"]


@pytest.mark.parametrize("module", ["process", "recovery", "traffic_recovery"])
def test_no_worker_starts_there(settings: Settings, home: Path, module: str) -> None:
    unsafe = in_home(settings, home, "root_dir")
    identity = HostIdentity("i-1", "eu-west-1")
    handoff = Handoff(unsafe, identity).render()
    if module == "recovery":
        handoff = json.dumps(unsafe._asdict()).encode()
    command = [sys.executable, "-m", f"agent.worker.{module}", f"{home}/agent/agent-state/commands/x"]
    done = subprocess.run(command, input=handoff, capture_output=True)
    assert done.returncode == (EXIT_UNREPORTED if module == "process" else 1)
    assert b"The root_dir" in done.stderr
    assert os.listdir(home) == []
