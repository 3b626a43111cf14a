"""Looking up the users of runas."""

from __future__ import annotations

import os
import pwd

import pytest

from agent.hooks.accounts import Account, find_account, first_closed_directory


def test_an_account_is_found_by_name_and_by_number():
    entry = pwd.getpwnam("games")
    account = find_account("games")
    assert (account.name, account.uid, account.gid) == ("games", entry.pw_uid, entry.pw_gid)
    assert (account.home, account.shell) == (entry.pw_dir, entry.pw_shell)
    assert entry.pw_gid in account.groups
    assert find_account(str(entry.pw_uid)) == account


@pytest.mark.parametrize("name", ["no-such-user", "4294967290", "9" * 30, "a\0b", "", "²"])
def test_nobody_is_a_lookup_error(name):
    with pytest.raises(LookupError):
        find_account(name)


def test_the_outermost_directory_that_is_closed_to_a_user_is_found(open_revision):
    os.makedirs(open_revision.path("a/b/c"))
    path = open_revision.script("", "a/b/c/script.sh")
    os.chmod(open_revision.path("a/b"), 0o754)
    stranger = Account("stranger", 12345, 12345, (12345,), "/", "/bin/sh")
    member = Account("member", 12345, 12345, (12345, os.stat(open_revision.path("a/b")).st_gid), "/", "/bin/sh")
    assert first_closed_directory(open_revision.path(path), stranger) == open_revision.path("a/b")
    assert first_closed_directory(open_revision.path(path), member) is None
