"""What the files of a host say, read by a child."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config.settings import Settings
from agent.daemon.reload import NEED_RESTART, merge
from agent.daemon.startup_state import StartupState, read_startup_state, start_reading
from agent.errors import ConfigError


def read_facts(path: str) -> StartupState:
    return read_startup_state(start_reading(path))


def write(directory: Path, text: str) -> str:
    path = directory / "agent.yml"
    path.write_text(text + f"\non_premises_config_file: {directory}/onpremises.yml\n")
    return str(path)


def test_settings_and_identity_come_through(tmp_path: Path) -> None:
    (tmp_path / "onpremises.yml").write_text(
        "iam_user_arn: arn:aws:iam::123456789012:user/x\nregion: eu-central-1\n"
        "aws_access_key_id: AKIA\naws_secret_access_key: secret\n"
    )
    startup_state = read_facts(write(tmp_path, ":max_revisions: 3\nunknown_thing: 1"))
    assert startup_state.settings.max_revisions == 3
    assert startup_state.on_premises is not None
    assert startup_state.on_premises.arn.endswith("user/x")
    assert any("unknown_thing" in warning for warning in startup_state.warnings)
    assert "secret" not in repr(startup_state)


def test_a_host_on_ec2_has_no_on_premises_file(tmp_path: Path) -> None:
    assert read_facts(write(tmp_path, "verbose: true")).on_premises is None


def test_every_mistake_comes_through(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"max_revisions(.|\n)*verbose"):
        read_facts(write(tmp_path, "max_revisions: none\nverbose: perhaps"))


def test_a_mistake_in_the_on_premises_file_comes_through(tmp_path: Path) -> None:
    (tmp_path / "onpremises.yml").write_text("iam_user_arn: arn:aws:iam::123456789012:user/x\n")
    with pytest.raises(ConfigError, match="region"):
        read_facts(write(tmp_path, "verbose: true"))


def test_a_missing_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        read_facts(str(tmp_path / "nowhere.yml"))


def test_what_the_running_agent_stands_on_changes_only_with_a_restart() -> None:
    old = Settings()
    new = old._replace(root_dir="/elsewhere", max_revisions=9)
    merged, changed, late = merge(old, new)
    assert (merged.root_dir, merged.max_revisions) == (old.root_dir, 9)
    assert (changed, late) == (["max_revisions"], ["root_dir"])


def test_every_setting_that_needs_a_restart_exists() -> None:
    assert set(NEED_RESTART) <= set(Settings._fields)
