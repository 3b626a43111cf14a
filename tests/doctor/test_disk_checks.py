"""A disk that is full or read-only, and a directory that others may use, are found."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from agent.doctor.examination import examine, repair
from agent.doctor.finding import Result
from examined_host import BY_NAME, ExaminedHost, examined_within

OTHER = 12345


@pytest.mark.needs("root", "mount")
def test_a_full_disk_is_found(host: ExaminedHost, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    mounts = f"mount -t tmpfs -o size=1m,nr_inodes=50 none {full}; head -c 900000 /dev/zero >{full}/file"
    found = examined_within(mounts, full, "disk-space", "inodes")
    assert found["disk-space"].result == found["inodes"].result == Result.FAIL
    assert "KiB are free for root_dir" in found["disk-space"].text
    assert "max_revisions" in found["disk-space"].remedy
    assert "df -i" in found["inodes"].remedy
    found = examined_within(f"mount -t tmpfs -o size=500m,nr_inodes=40000 none {full}", full, "disk-space", "inodes")
    assert (found["disk-space"].result, found["inodes"].result) == (Result.WARN, Result.PASS)


def test_a_disk_with_room_passes(tmp_path: Path, host: ExaminedHost) -> None:
    room = os.statvfs(tmp_path)
    if room.f_bavail * room.f_frsize < 2 << 30:
        pytest.skip("needs room on the disk: 2 GB")
    host.passes("disk-space", "are free for root_dir")
    host.passes("inodes")


@pytest.mark.needs("root", "mount")
def test_a_read_only_disk_is_found(host: ExaminedHost, tmp_path: Path) -> None:
    host.passes("read-only", "may be written to")
    directory = tmp_path / "host"
    (directory / "root").mkdir()
    script = f"mount --bind {directory}/root {directory}/root; mount -o remount,ro,bind {directory}/root"
    found = examined_within(script, directory, "read-only")
    assert found["read-only"].result == Result.FAIL
    assert f"root_dir ({directory}/root)" in found["read-only"].text
    assert "mount -o remount,rw" in found["read-only"].remedy


@pytest.mark.needs("root")
def test_a_directory_that_another_account_could_exchange_is_found(host: ExaminedHost) -> None:
    host.passes("own-directories", "No other account")
    os.chown(host.directory, OTHER, OTHER)
    host.fails("own-directories", f"{host.directory} belongs to", "chown -h root")
    host.write_config(unsafe_links="follow")
    host.warns("own-directories", "does not look", "unsafe_links: refuse")


def test_directories_that_others_may_use_are_found_and_closed(host: ExaminedHost) -> None:
    host.state.mkdir(parents=True, mode=0o700)
    host.passes("modes", "may not write")
    host.root.chmod(0o775)
    host.warns("modes", "(0775)", f"chmod 0755 {host.root}")
    host.root.chmod(0o1777)
    host.state.chmod(0o755)
    host.fails("modes", f"{host.state} (0755)", "doctor --fix")
    assert len(host.repair("modes")) == 2
    assert stat.S_IMODE(host.root.stat().st_mode) == 0o1755
    assert stat.S_IMODE(host.state.stat().st_mode) == 0o700
    host.passes("modes")


@pytest.mark.needs("root")
def test_nothing_is_closed_where_another_account_could_exchange_it(host: ExaminedHost) -> None:
    host.root.mkdir()
    host.root.chmod(0o777)
    os.chown(host.directory, OTHER, OTHER)
    subject = host.subject
    done = repair(subject, examine(subject, [BY_NAME["modes"]]))
    assert [text.partition(":")[0] for _, text in done] == ["Nothing is changed"]
    assert stat.S_IMODE(host.root.stat().st_mode) == 0o777


def test_a_missing_log_directory_is_found_and_made(host: ExaminedHost) -> None:
    host.passes("log-directory", "is there")
    host.log.parent.rmdir()
    host.fails("log-directory", "does not exist", "doctor --fix")
    assert host.repair("log-directory") == [f"{host.log.parent} is made, with mode 0755."]
    host.passes("log-directory")
    host.log.parent.rmdir()
    host.write_config(restrict_log_dir_permissions="true")
    host.repair("log-directory")
    assert stat.S_IMODE(host.log.parent.stat().st_mode) == 0o750


@pytest.mark.needs("root")
def test_a_destination_below_another_accounts_directory_is_found(host: ExaminedHost, tmp_path: Path) -> None:
    destination = tmp_path / "srv" / "app"
    destination.mkdir(parents=True)
    instructions = host.root / "deployment-instructions"
    instructions.mkdir(parents=True)
    (instructions / "group-1-cleanup").write_text(f"{destination}/index.html\n")
    names = {"type": "copy", "source": "/x", "destination": f"{destination}/index.html"}
    (instructions / "group-1-install.json").write_text(f'{{"instructions": [{str(names).replace(chr(39), chr(34))}]}}')
    host.passes("destinations", "of 1 deployment groups (1 directories)")
    os.chown(destination.parent, OTHER, OTHER)
    host.fails("destinations", f"{destination.parent} belongs to", "unsafe_links: follow")
    os.chown(destination.parent, 0, 0)
    link = tmp_path / "link"
    link.symlink_to(destination)
    os.chown(link, OTHER, OTHER, follow_symlinks=False)
    (instructions / "group-1-cleanup").write_text(f"{link}/index.html\n")
    names["destination"] = f"{link}/index.html"
    (instructions / "group-1-install.json").write_text(f'{{"instructions": [{str(names).replace(chr(39), chr(34))}]}}')
    host.fails("destinations", f"{link} belongs to", "chown -h root")
    host.write_config(unsafe_links="follow")
    host.skips("destinations", "follow")
