from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys

import pytest

from agent.install.owners import OwnerLookup, OwnerRights, group_name, user_name
from other_user import command_as

SOMEBODY = next(entry for entry in pwd.getpwall() if entry.pw_uid not in (0, os.geteuid()))
SOME_GROUP = next(entry for entry in grp.getgrall() if entry.gr_gid != 0)
NOBODYS_ID = next(number for number in range(40_000, 50_000) if number not in {e.pw_uid for e in pwd.getpwall()})


def test_a_user_and_a_group_are_found_by_name():
    owners = OwnerLookup()
    assert owners.user(SOMEBODY.pw_name) == SOMEBODY.pw_uid
    assert owners.group(SOME_GROUP.gr_name) == SOME_GROUP.gr_gid


def test_a_number_is_an_id_whether_or_not_there_is_an_account():
    owners = OwnerLookup()
    assert owners.user("0") == 0
    assert owners.user(str(NOBODYS_ID)) == NOBODYS_ID
    assert owners.group(str(NOBODYS_ID)) == NOBODYS_ID


@pytest.mark.parametrize(
    "name",
    [
        "no-such-user-here",
        "",
        "-1",
        "+5",
        "4294967295",  # chown(2) would leave the owner as it is
        "99999999999",
        "٥",  # noqa: RUF001  a digit, but not an ASCII one
        "a\0b",
        "a\ud800",
        "ro:ot",
    ],
)
def test_a_name_that_the_host_does_not_have_is_nobody(name):
    owners = OwnerLookup()
    assert owners.user(name) is None
    assert owners.group(name) is None


def test_users_and_groups_are_not_confused():
    owners = OwnerLookup()
    only_user = next((e.pw_name for e in pwd.getpwall() if e.pw_name not in {g.gr_name for g in grp.getgrall()}), None)
    only_group = next(e.gr_name for e in grp.getgrall() if e.gr_name not in {u.pw_name for u in pwd.getpwall()})
    assert owners.user(only_group) is None
    if only_user is not None:
        assert owners.group(only_user) is None


def test_an_id_without_an_account_is_shown_as_its_number():
    assert user_name(0) == "root"
    assert user_name(NOBODYS_ID) == str(NOBODYS_ID)
    assert group_name(SOME_GROUP.gr_gid) == SOME_GROUP.gr_name
    assert group_name(4_294_967_295) == "4294967295"


@pytest.mark.needs("root")
def test_root_may_give_a_file_to_anybody():
    assert OwnerRights().may_give(NOBODYS_ID, NOBODYS_ID)


@pytest.mark.needs("root", "users")
def test_an_ordinary_user_may_keep_a_file_and_use_the_own_groups_only():
    program = (
        "from agent.install.owners import OwnerRights\n"
        "rights = OwnerRights()\n"
        "print([rights.may_give(*pair) for pair in"
        " [(None, None), (50000, None), (None, 50001), (50000, 7), (0, None), (None, 0), (50000, 8)]])"
    )
    done = subprocess.run(command_as(50000, 50001, program, groups=[7]), capture_output=True, text=True, check=False)
    assert done.stdout == "[True, True, True, True, False, False, False]\n", done.stderr


@pytest.mark.needs("root")
@pytest.mark.needs_tool("setpriv")
def test_root_without_the_capability_is_not_believed():
    program = "from agent.install.owners import OwnerRights; print(OwnerRights().may_give(50000, None))"
    done = subprocess.run(
        ["setpriv", "--bounding-set=-chown", "--inh-caps=-chown", "--", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "False\n", done.stderr
