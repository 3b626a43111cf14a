import os
import subprocess

import pytest

from agent.errors import SpecificationError
from agent.store.directories import (
    RootDirectoryError,
    make_deployment_directory,
    make_instructions_directory,
    make_state_directory,
)
from agent.store.layout import OPEN, RESTRICTED, Layout


def test_the_official_agents_find_everything_under_its_name():
    layout = Layout("/r")
    deployment = layout.deployment("g", "d-1")
    assert deployment == "/r/g/d-1"
    assert layout.bundle(deployment) == "/r/g/d-1/bundle.tar"
    assert layout.archive(deployment) == "/r/g/d-1/deployment-archive"
    assert layout.script_log(deployment) == "/r/g/d-1/logs/scripts.log"
    assert layout.cleanup("g") == "/r/deployment-instructions/g-cleanup"
    assert layout.last_successful("g") == "/r/deployment-instructions/g_last_successful_install"
    assert layout.most_recent("g") == "/r/deployment-instructions/g_most_recent_install"
    assert layout.deployments_log == "/r/deployment-logs/codedeploy-agent-deployments.log"
    assert layout.tracking("d-1") == "/r/ongoing-deployment/d-1"


def test_names_from_the_settings_are_used():
    layout = Layout("/r", program_name="other", tracking_name="busy")
    assert layout.deployments_log == "/r/deployment-logs/other-deployments.log"
    assert layout.tracking("d-1") == "/r/busy/d-1"


@pytest.mark.parametrize("group", ["", ".", "..", "a/b", "/", "a\0b", "a\nb", "x" * 201, "ü" * 101])
def test_a_group_id_that_is_no_file_name_is_refused(group):
    with pytest.raises(SpecificationError, match="deployment group id"):
        Layout("/r").group(group)


@pytest.mark.parametrize("group", ["agent-state", "deployment-instructions", "deployment-logs", "ongoing-deployment"])
def test_a_group_cannot_take_the_agents_own_directories(group):
    with pytest.raises(SpecificationError, match="keeps for itself"):
        Layout("/r").deployment(group, "d-1")


@pytest.mark.parametrize("deployment", ["", "..", "../x", "a/b"])
def test_a_deployment_id_that_is_no_file_name_is_refused(deployment):
    with pytest.raises(SpecificationError, match="deployment id"):
        Layout("/r").deployment("g", deployment)
    with pytest.raises(SpecificationError, match="deployment id"):
        Layout("/r").tracking(deployment)


def mode(path):
    return os.stat(path).st_mode & 0o7777


def test_directories_are_made_with_their_modes_whatever_the_umask(tmp_path):
    layout = Layout(f"{tmp_path}/r")
    before = os.umask(0o077)
    try:
        directory = make_deployment_directory(layout, "g", "d-1")
        make_instructions_directory(layout)
        make_state_directory(layout, layout.locks)
    finally:
        os.umask(before)
    assert [mode(path) for path in (layout.root_dir, layout.group("g"), directory, layout.instructions)] == [0o755] * 4
    assert [mode(path) for path in (layout.state, layout.locks)] == [0o700] * 2


@pytest.mark.needs_tool("setfacl")
@pytest.mark.parametrize("modes", [OPEN, RESTRICTED])
def test_no_other_account_can_exchange_a_name_on_the_way_to_a_revision(tmp_path, modes):
    layout = Layout(f"{tmp_path}/r", modes=modes)
    subprocess.run(["setfacl", "-d", "-m", "u:games:rwx,o::rwx", str(tmp_path)], check=True)
    os.chmod(tmp_path, 0o2770)
    before = os.umask(0)
    try:
        directory = make_deployment_directory(layout, "g", "d-1")
        make_instructions_directory(layout)
    finally:
        os.umask(before)
    for path in (layout.root_dir, layout.group("g"), directory, layout.instructions):
        assert mode(path) & 0o7022 == 0  # the group's bits are the mask of the list


def test_restricted_directories_let_scripts_pass_and_nobody_look(tmp_path):
    layout = Layout(f"{tmp_path}/r", modes=RESTRICTED)
    directory = make_deployment_directory(layout, "g", "d-1")
    make_instructions_directory(layout)
    assert [mode(path) for path in (layout.root_dir, layout.group("g"), directory)] == [0o711] * 3
    assert mode(layout.instructions) == 0o700


def test_directories_that_are_there_keep_their_modes(tmp_path):
    os.makedirs(f"{tmp_path}/r/g")
    os.chmod(f"{tmp_path}/r/g", 0o750)
    make_deployment_directory(Layout(f"{tmp_path}/r"), "g", "d-1")
    assert mode(f"{tmp_path}/r/g") == 0o750


def test_a_file_in_the_way_names_itself_and_the_setting(tmp_path):
    (tmp_path / "r").write_text("")
    with pytest.raises(RootDirectoryError, match="root_dir") as caught:
        make_deployment_directory(Layout(f"{tmp_path}/r"), "g", "d-1")
    assert f"{tmp_path}/r" in caught.value.message
