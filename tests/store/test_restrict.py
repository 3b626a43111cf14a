"""What other users can read once restrict_agent_dir_permissions is set on a host that has deployed without it."""

from __future__ import annotations

import os

import pytest

from agent.store.directories import make_deployment_directory
from agent.store.layout import RESTRICTED, Layout

OLD = {
    "g/d-1/bundle.tar": 0o644,
    "g/d-1/.bundle-source": 0o644,
    "g/d-1/logs/scripts.log": 0o644,
    "g/d-1/deployment-archive/scripts/run.sh": 0o755,
    "g/d-1/.deployment-archive.unpacking~/half": 0o644,
    "deployment-instructions/g-cleanup": 0o644,
    "deployment-logs/codedeploy-agent-deployments.log": 0o644,
    "ongoing-deployment/d-1": 0o644,
}


def mode(path):
    return oct(os.stat(path).st_mode & 0o7777)


@pytest.fixture
def root(tmp_path):
    """A root directory as an open agent has left it."""
    top = tmp_path / "root"
    for name, bits in OLD.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("secret")
        path.chmod(bits)
    for directory, _, _ in os.walk(top):
        os.chmod(directory, 0o755)
    return top


def deploy(root):
    make_deployment_directory(Layout(str(root), modes=RESTRICTED), "g", "d-2")


def test_what_was_open_is_closed_by_the_next_deployment(root):
    deploy(root)
    closed = {
        ".": "0o711",
        "g": "0o711",
        "g/d-1": "0o711",
        "g/d-1/bundle.tar": "0o600",
        "g/d-1/.bundle-source": "0o600",
        "g/d-1/logs": "0o750",
        "g/d-1/deployment-archive": "0o711",
        "deployment-instructions": "0o700",
        "deployment-logs": "0o750",
        "ongoing-deployment": "0o700",
    }
    assert {name: mode(root / name) for name in closed} == closed


def test_a_revision_keeps_its_modes_and_so_does_one_that_is_being_unpacked(root):
    kept = ("g/d-1/deployment-archive/scripts", "g/d-1/deployment-archive/scripts/run.sh")
    unpacking = root / "g/d-1/.deployment-archive.unpacking~"
    unpacking.chmod(0o711)
    deploy(root)
    assert [mode(root / name) for name in kept] == ["0o755", "0o755"]
    assert mode(unpacking) == "0o711"


def test_what_is_closed_further_is_not_opened(root):
    (root / "g").chmod(0o700)
    (root / "g/d-1/bundle.tar").chmod(0o400)
    deploy(root)
    assert (mode(root / "g"), mode(root / "g/d-1/bundle.tar")) == ("0o700", "0o400")


def test_a_link_to_a_local_archive_leaves_that_as_it_is(root, tmp_path):
    archive = tmp_path / "mine.tar"
    archive.write_text("")
    archive.chmod(0o644)
    (root / "g/d-1/bundle.tar").unlink()
    (root / "g/d-1/bundle.tar").symlink_to(archive)
    deploy(root)
    assert mode(archive) == "0o644"


def test_a_root_directory_behind_a_link_is_closed_too(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    deploy(tmp_path / "link")
    assert mode(root / "deployment-instructions") == "0o700"


def test_without_the_setting_nothing_is_closed(root):
    make_deployment_directory(Layout(str(root)), "g", "d-2")
    assert mode(root / "deployment-instructions") == "0o755"
