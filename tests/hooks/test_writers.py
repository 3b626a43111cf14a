"""What another account would gain by changing a script before root runs it, and what the operator reads of it."""

from __future__ import annotations

import os
import subprocess

import pytest

from agent.appspec.model import Script
from agent.errors import DiagnosticCode

pytestmark = pytest.mark.needs("root", "users")

NOBODYS = 54321  # a number without an account and without a group
GAMES, GAMES_GROUP = 5, 60


@pytest.fixture
def closed(open_revision):
    """A revision that belongs to root, with one script in a directory of its own."""
    os.chmod(open_revision.directory, 0o755)
    open_revision.script("echo ran", "scripts/start.sh")
    os.chmod(open_revision.path("scripts"), 0o755)
    return open_revision


def warned(revision, caplog, script="scripts/start.sh"):
    """Run a script; return the warnings about those who may change it."""
    caplog.clear()
    revision.recorder.pieces.clear()
    revision.run(script)
    assert revision.recorder.lines() == ["ran"]
    return [record.getMessage() for record in caplog.records if "may change it" in record.getMessage()]


def refused(revision, script="scripts/start.sh"):
    """Run a script where the setting forbids that others may write to it; return the error."""
    revision.recorder.pieces.clear()
    error = revision.fail(script, reject_scripts_writable_by_others=True)
    assert error.code is DiagnosticCode.SCRIPT_FAILED
    assert revision.recorder.lines() == []
    return str(error)


def test_a_script_of_roots_alone_runs_without_a_word(closed, caplog):
    assert warned(closed, caplog) == []
    closed.run("scripts/start.sh", reject_scripts_writable_by_others=True)


@pytest.mark.parametrize("place", ["scripts/start.sh", "scripts", "."])
def test_an_account_that_owns_a_script_or_a_directory_of_it_is_named(closed, caplog, place):
    path = os.path.normpath(closed.path(place))
    os.chown(path, GAMES, 0)
    (text,) = warned(closed, caplog)
    assert text.startswith("Script scripts/start.sh of AfterInstall runs although another account may change it: ")
    assert f"user games (5) owns {path}. " in text
    assert "ignore_ownership_in_bundle: true" in text
    assert "reject_scripts_writable_by_others: true" in text
    assert f"user games (5) owns {path}. " in refused(closed)


@pytest.mark.parametrize("place", ["scripts/start.sh", "scripts", "."])
@pytest.mark.parametrize(("bit", "who"), [(0o020, "group games (60)"), (0o002, "every account")])
def test_whom_a_mode_lets_write_is_named(closed, place, bit, who):
    path = os.path.normpath(closed.path(place))
    os.chown(path, 0, GAMES_GROUP)
    os.chmod(path, 0o755 | bit)
    assert f"{who} may write to {path}. Remove the right to write" in refused(closed)


@pytest.mark.needs_tool("setfacl")
@pytest.mark.parametrize("place", ["scripts/start.sh", "scripts", "."])
@pytest.mark.parametrize(("entry", "who"), [("u:games:rwx", "user games (5)"), ("g:games:rwx", "group games (60)")])
def test_whom_an_access_control_list_lets_write_is_named(closed, place, entry, who):
    path = os.path.normpath(closed.path(place))
    subprocess.run(["setfacl", "-m", entry, path], check=True)
    assert f"{who} may write to {path}. " in refused(closed)
    subprocess.run(["setfacl", "-m", "m::rx", path], check=True)
    closed.run("scripts/start.sh", reject_scripts_writable_by_others=True)


def test_a_number_without_an_account_is_named_because_a_later_account_may_get_it(closed):
    path = closed.path("scripts/start.sh")
    os.chown(path, NOBODYS, NOBODYS)
    os.chmod(path, 0o775)
    text = refused(closed)
    assert f"user number {NOBODYS} (no account yet, perhaps a later one) owns {path}" in text
    assert f"group number {NOBODYS} (no group yet, perhaps a later one) may write to {path}" in text


def test_a_bundle_that_an_account_packed_gives_one_warning_for_each_script(closed, caplog):
    for place in (".", "scripts", "scripts/start.sh"):
        os.chown(closed.path(place), NOBODYS, NOBODYS)
        os.chmod(closed.path(place), 0o775)
    (text,) = warned(closed, caplog)
    assert "; and 3 more. " in text


def test_the_account_of_runas_may_own_its_script_and_no_other_may(closed, caplog):
    script = Script("scripts/start.sh", runas="games")
    for place in (".", "scripts", "scripts/start.sh"):
        os.chown(closed.path(place), GAMES, GAMES_GROUP)
        os.chmod(closed.path(place), 0o775)
    assert warned(closed, caplog, script) == []
    os.chown(closed.path("scripts"), NOBODYS, GAMES_GROUP)
    assert "Script scripts/start.sh of AfterInstall as user games was not run" in refused(closed, script)


def test_a_link_in_the_revision_is_followed_and_what_it_leads_to_is_judged(closed, caplog):
    closed.script("echo ran", "lib/real.sh")
    os.symlink("../lib/real.sh", closed.path("scripts/link.sh"))
    os.symlink("scripts", closed.path("bin"))
    assert warned(closed, caplog, "bin/link.sh") == []
    os.chown(closed.path("lib"), GAMES, 0)
    assert f"user games (5) owns {closed.path('lib')}" in refused(closed, "bin/link.sh")


def test_a_link_out_of_the_revision_is_judged_from_the_root_of_the_host(closed, tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    (away / "real.sh").write_text("#!/bin/sh\necho ran\n")
    (away / "real.sh").chmod(0o755)
    os.symlink(away / "real.sh", closed.path("link.sh"))
    closed.run("link.sh", reject_scripts_writable_by_others=True)
    os.chown(away, GAMES, 0)
    text = refused(closed, "link.sh")
    assert f"user games (5) owns {away}. What lies outside the revision must belong to root" in text


def test_a_root_directory_that_lies_in_a_directory_of_another_account_is_named(tmp_path, open_revision):
    home = tmp_path / "home"
    archive = home / "root" / "archive"
    archive.mkdir(parents=True)
    open_revision.directory = str(archive)
    open_revision.script("echo ran", "start.sh")
    os.chown(home, GAMES, GAMES_GROUP)
    assert f"user games (5) owns {home}. What lies outside the revision" in refused(open_revision, "start.sh")


def test_in_a_directory_with_the_sticky_bit_a_script_of_roots_is_safe_and_one_of_another_account_is_not(closed):
    os.chmod(closed.path("scripts"), 0o1777)
    closed.run("scripts/start.sh", reject_scripts_writable_by_others=True)
    os.symlink("start.sh", closed.path("scripts/link.sh"))
    os.chown(closed.path("scripts/link.sh"), GAMES, 0, follow_symlinks=False)
    assert f"user games (5) owns {closed.path('scripts/link.sh')}" in refused(closed, "scripts/link.sh")


def test_links_that_lead_round_in_circles_are_a_missing_script(closed):
    os.symlink("loop.sh", closed.path("loop.sh"))
    assert closed.fail("loop.sh").code is DiagnosticCode.SCRIPT_MISSING


def test_a_script_that_is_refused_is_not_made_executable(closed):
    path = closed.path("scripts/start.sh")
    os.chmod(path, 0o666)
    refused(closed)
    assert os.stat(path).st_mode & 0o777 == 0o666


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_that_another_account_made_gives_no_file_of_the_host_another_mode(closed, link):
    secret = f"{closed.directory}.secret"
    with open(secret, "w") as file:
        file.write("echo ran")
    os.chmod(secret, 0o600)
    try:
        link(secret, closed.path("scripts/link.sh"))
        os.chown(closed.path("scripts"), GAMES, 0)
        assert closed.fail("scripts/link.sh").code is DiagnosticCode.SCRIPT_NOT_EXECUTABLE
        assert os.stat(secret).st_mode & 0o777 == 0o600
    finally:
        os.unlink(secret)


def test_a_script_that_another_account_packed_is_still_made_executable(closed, caplog):
    os.chown(closed.path("scripts/start.sh"), GAMES, GAMES_GROUP)
    os.chmod(closed.path("scripts/start.sh"), 0o644)
    assert len(warned(closed, caplog)) == 1
    assert os.stat(closed.path("scripts/start.sh")).st_mode & 0o777 == 0o755


def test_the_name_of_a_script_stays_its_path(closed):
    closed.script('echo "$0"', "scripts/name.sh")
    closed.run("scripts/name.sh", reject_scripts_writable_by_others=True)
    assert closed.recorder.lines() == [closed.path("scripts/name.sh")]


def test_an_agent_of_another_account_asks_nothing(open_revision, as_user):
    open_revision.script("echo ran")

    def run():
        return open_revision.run("script.sh", reject_scripts_writable_by_others=True).lines()

    assert as_user("nobody", run) == ["ran"]


def test_looking_leaves_no_descriptor_open(closed):
    os.symlink("scripts", closed.path("bin"))
    os.symlink(closed.path("scripts/start.sh"), closed.path("scripts/link.sh"))
    before = os.listdir("/proc/self/fd")
    closed.run("bin/link.sh")
    assert os.listdir("/proc/self/fd") == before
