"""A directory that both revisions have: it stays the same directory, with the metadata of a new one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from agent.filesystem.directories import Directories
from agent.install.reset import read_metadata, reset_directory, write_metadata
from host_tree import describe


@pytest.fixture
def parent(tmp_path: Path) -> str:
    os.mkdir(tmp_path / "parent")
    return str(tmp_path / "parent")


def assert_as_new(parent: str) -> None:
    """Compare the directory "kept" with one that is made now."""
    os.mkdir(f"{parent}/fresh")
    assert describe(f"{parent}/kept") == describe(f"{parent}/fresh")
    os.rmdir(f"{parent}/fresh")


def reset(path: str, *, mode: int | None = None) -> None:
    with Directories() as directories, directories.pinned(path) as pinned:
        reset_directory(pinned, directories.open(os.path.dirname(path)), mode=mode)


def metadata_of(path: str) -> dict[str, object]:
    with Directories() as directories, directories.pinned(path) as pinned:
        return read_metadata(pinned)


def put_back(path: str, metadata: dict[str, object]) -> None:
    with Directories() as directories, directories.pinned(path) as pinned:
        write_metadata(pinned, metadata)


def run(*command: str) -> None:
    subprocess.run(command, check=True)


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o000])
@pytest.mark.parametrize("bits", [0o700, 0o777, 0o1777, 0o2755, 0o000])
def test_a_mode_set_by_hand_is_set_back_to_that_of_a_new_directory(parent: str, bits: int, umask: int) -> None:
    os.mkdir(f"{parent}/kept")
    os.chmod(f"{parent}/kept", bits)
    before = os.umask(umask)
    try:
        reset(f"{parent}/kept")
        assert_as_new(parent)
        assert os.umask(umask) == umask  # looking at the umask has not changed it
    finally:
        os.umask(before)


@pytest.mark.needs("root")
def test_an_owner_set_by_hand_is_set_back(parent: str) -> None:
    os.mkdir(f"{parent}/kept")
    os.chown(f"{parent}/kept", 5, 60)
    reset(f"{parent}/kept")
    assert_as_new(parent)


@pytest.mark.needs("root")
def test_below_a_setgid_directory_the_group_is_inherited(parent: str) -> None:
    os.chown(parent, 0, 60)
    os.chmod(parent, 0o2775)
    os.mkdir(f"{parent}/kept")
    os.chown(f"{parent}/kept", 5, 5)
    os.chmod(f"{parent}/kept", 0o1700)
    reset(f"{parent}/kept")
    assert_as_new(parent)
    assert os.stat(f"{parent}/kept").st_gid == 60


@pytest.mark.needs_tool("setfacl")
def test_an_acl_set_by_hand_is_taken_away(parent: str) -> None:
    os.mkdir(f"{parent}/kept")
    run("setfacl", "-m", "u:games:rwx,d:u:games:rwx", f"{parent}/kept")
    reset(f"{parent}/kept")
    assert_as_new(parent)


@pytest.mark.needs_tool("setfacl")
@pytest.mark.parametrize("default", ["u:games:rwx", "u:games:r,m::r", "g::---,o::---", "u::rwx,g::rx,o::-"])
@pytest.mark.parametrize("bits", [0o700, 0o3777])
def test_a_default_acl_above_is_inherited(parent: str, default: str, bits: int) -> None:
    run("setfacl", "-d", "-m", default, parent)
    os.mkdir(f"{parent}/kept")
    run("setfacl", "-b", f"{parent}/kept")
    os.chmod(f"{parent}/kept", bits)
    reset(f"{parent}/kept")
    assert_as_new(parent)


@pytest.mark.needs("root")
@pytest.mark.needs_tool("setfacl")
def test_a_default_acl_and_a_setgid_directory_above_are_both_inherited(parent: str) -> None:
    run("setfacl", "-d", "-m", "u:games:rwx", parent)
    os.chown(parent, 0, 60)
    os.chmod(parent, 0o2775)
    os.mkdir(f"{parent}/kept")
    run("setfacl", "-b", f"{parent}/kept")
    os.chmod(f"{parent}/kept", 0o700)
    reset(f"{parent}/kept")
    assert_as_new(parent)


def test_a_directory_that_is_as_new_is_not_touched(parent: str) -> None:
    os.mkdir(f"{parent}/kept")
    before = os.stat(f"{parent}/kept").st_ctime_ns
    reset(f"{parent}/kept")
    assert os.stat(f"{parent}/kept").st_ctime_ns == before


@pytest.mark.needs("root")
@pytest.mark.needs_tool("setfacl")
def test_undoing_brings_mode_owner_and_both_acls_back(parent: str) -> None:
    kept = f"{parent}/kept"
    os.mkdir(kept)
    os.chown(kept, 5, 60)
    os.chmod(kept, 0o3750)
    run("setfacl", "-m", "u:games:rwx,d:u:games:rx", kept)
    before = describe(kept)
    metadata = json.loads(json.dumps(metadata_of(kept)))
    reset(kept)
    assert describe(kept) != before
    put_back(kept, metadata)
    assert describe(kept) == before


@pytest.mark.needs_tool("setfacl")
def test_undoing_takes_an_acl_away_that_was_not_there(parent: str) -> None:
    kept = f"{parent}/kept"
    os.mkdir(kept)
    before, metadata = describe(kept), metadata_of(kept)
    run("setfacl", "-m", "u:games:rwx,d:u:games:rx", kept)
    put_back(kept, metadata)
    assert describe(kept) == before


@pytest.mark.needs_tool("setfacl")
@pytest.mark.parametrize("default", ["", "u:games:rwx", "g::---,o::---"])
def test_a_directory_that_ends_closed_is_never_open_in_between(parent: str, default: str) -> None:
    if default:
        run("setfacl", "-d", "-m", default, parent)
    os.mkdir(f"{parent}/kept")
    os.chmod(f"{parent}/kept", 0o700)
    reset(f"{parent}/kept", mode=0o700)
    status = os.stat(f"{parent}/kept")
    assert status.st_mode & 0o777 == 0o700
