import os

import pytest

from agent import __version__
from agent.daemon.version_file import write_version

OURS = f"agent_version: codedeploy-host-agent_{__version__}\n"


def test_inventories_find_the_version_beside_the_root_directory(tmp_path):
    assert write_version(f"{tmp_path}/deployment-root/")
    assert (tmp_path / ".version").read_text() == OURS
    assert os.stat(tmp_path / ".version").st_mode & 0o777 == 0o444
    assert write_version(f"{tmp_path}/deployment-root")


def test_an_older_release_of_ours_is_replaced(tmp_path):
    (tmp_path / ".version").write_text("agent_version: codedeploy-host-agent_0.0.1\n")
    assert write_version(f"{tmp_path}/root")
    assert (tmp_path / ".version").read_text() == OURS


@pytest.mark.parametrize("text", ["agent_version: OFFICIAL_1.8.1-1_deb\n", "agent_version: 2.1.0\n", "something"])
def test_the_version_that_an_official_agent_sends_to_the_service_is_left_alone(tmp_path, text):
    (tmp_path / ".version").write_text(text)
    assert not write_version(f"{tmp_path}/root")
    assert (tmp_path / ".version").read_text() == text


def test_a_directory_that_cannot_be_written_fails_nothing(tmp_path):
    assert not write_version(f"{tmp_path}/missing/root")
    (tmp_path / ".version").mkdir()
    assert not write_version(f"{tmp_path}/root")


def test_nothing_is_written_into_the_root_of_the_file_system():
    assert not write_version("/deployments")
    assert not os.path.exists("/.version")


def test_a_pipe_in_its_place_does_not_stop_the_agent(tmp_path):
    os.mkfifo(tmp_path / ".version")
    assert not write_version(f"{tmp_path}/root")
