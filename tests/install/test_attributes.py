from __future__ import annotations

import os
import stat

import pytest

from agent.appspec.model import AclEntry, Permission, SelinuxContext
from agent.install import acl
from agent.install.attributes import Attributes, apply_attributes
from agent.install.owners import OwnerLookup

GAMES = 5
RW = AclEntry("user", "games", 6)


def given(*, uid=None, gid=None, then=None, **settings):
    permission = Permission("/srv/app", **settings)
    found = acl.resolve_acl(permission.acls, OwnerLookup())[0] if permission.acls else None
    return Attributes(permission, uid, gid, found, then)


def described(path):
    status = os.lstat(path)
    return oct(stat.S_IMODE(status.st_mode)), status.st_uid, status.st_gid


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("one")
    path.chmod(0o644)
    return path


def apply_to(path, attributes, *, by_descriptor):
    if not by_descriptor:
        apply_attributes(str(path), attributes, is_directory=path.is_dir(), shown=str(path))
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        apply_attributes(descriptor, attributes, is_directory=path.is_dir(), shown=str(path))
    finally:
        os.close(descriptor)


by_both = pytest.mark.parametrize("by_descriptor", [True, False])


@by_both
def test_a_mode_alone_is_exact(file, by_descriptor):
    apply_to(file, given(mode=0o4755), by_descriptor=by_descriptor)
    assert described(file) == ("0o4755", os.geteuid(), os.getegid())


@by_both
@pytest.mark.needs("root")
def test_an_owner_clears_the_setuid_and_setgid_bits_of_a_file(file, by_descriptor):
    apply_to(file, given(mode=0o6755, uid=GAMES, gid=GAMES), by_descriptor=by_descriptor)
    assert described(file) == ("0o755", GAMES, GAMES)


@by_both
def test_an_owner_that_stays_the_same_clears_them_too(file, by_descriptor):
    file.chmod(0o4755)
    apply_to(file, given(uid=os.geteuid()), by_descriptor=by_descriptor)
    assert described(file)[0] == "0o755"


@by_both
@pytest.mark.needs("root")
def test_a_directory_keeps_its_setgid_bit_through_the_change_of_owner(tmp_path, by_descriptor):
    apply_to(tmp_path, given(mode=0o2775, uid=GAMES, gid=GAMES), by_descriptor=by_descriptor)
    assert described(tmp_path) == ("0o2775", GAMES, GAMES)


@by_both
@pytest.mark.needs("root")
def test_owner_and_group_are_set_one_without_the_other(file, by_descriptor):
    apply_to(file, given(uid=GAMES), by_descriptor=by_descriptor)
    assert described(file) == ("0o644", GAMES, 0)
    apply_to(file, given(gid=7), by_descriptor=by_descriptor)
    assert described(file) == ("0o644", GAMES, 7)


@by_both
def test_an_acl_is_completed_by_the_mode_of_the_same_entry(file, by_descriptor):
    apply_to(file, given(mode=0o640, acls=(RW,)), by_descriptor=by_descriptor)
    assert acl.describe(acl.read(str(file))[0]) == [
        "user::rw-",
        "user:games:rw-",
        "group::r--",
        "mask::r--",
        "other::---",
    ]
    assert described(file)[0] == "0o640"


@by_both
def test_without_a_mode_an_acl_is_completed_by_the_one_it_finds(file, by_descriptor):
    file.chmod(0o600)
    apply_to(file, given(acls=(RW,)), by_descriptor=by_descriptor)
    assert acl.describe(acl.read(str(file))[0])[3:] == ["mask::---", "other::---"]
    assert described(file)[0] == "0o600"


@by_both
def test_a_directory_gets_its_default_list(tmp_path, by_descriptor):
    tmp_path.chmod(0o700)
    entry = AclEntry("user", "games", 5, default=True)
    apply_to(tmp_path, given(mode=0o750, acls=(entry,)), by_descriptor=by_descriptor)
    assert acl.describe(acl.read(str(tmp_path))[1]) == [
        "user::rwx",
        "user:games:r-x",
        "group::r-x",
        "mask::r-x",
        "other::---",
    ]


@pytest.mark.needs("root")
def test_what_a_later_entry_sets_comes_after_all_that_an_earlier_one_sets(file):
    later = given(mode=0o4750)
    apply_attributes(str(file), given(mode=0o600, uid=GAMES, then=later), is_directory=False, shown=str(file))
    # Had the owner come last, the setuid bit would be gone.
    assert described(file) == ("0o4750", GAMES, 0)


def test_a_failure_names_the_path_that_a_person_knows(tmp_path):
    descriptor = os.open(tmp_path, os.O_PATH | os.O_CLOEXEC)
    try:
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            apply_attributes(descriptor, given(mode=0o600), is_directory=True, shown="/srv/app")
    finally:
        os.close(descriptor)
    assert caught.value.filename == "/srv/app"


def test_the_instructions_are_those_of_the_official_agent_in_its_order():
    everything = given(
        mode=0o44,
        owner="games",
        acls=(RW, AclEntry("group", "games", 4, default=True)),
        context=SelinuxContext("httpd_sys_content_t", "system_u", "s0"),
    )
    assert everything.instructions() == [
        {"type": "chmod", "mode": "044"},
        {"type": "setfacl", "acl": ["user:games:rw-", "default:group:games:r--"]},
        {
            "type": "semanage",
            "context": {"user": "system_u", "role": None, "type": "httpd_sys_content_t", "range": "s0"},
        },
        {"type": "chown", "owner": "games", "group": None},
    ]
    assert given().instructions() == []
    assert given(mode=0).instructions()[0]["mode"] == "000"
    assert given(mode=0o1755).instructions()[0]["mode"] == "1755"


def test_a_person_reads_all_that_is_set_in_one_line():
    later = given(mode=0)
    whole = given(
        mode=0o4750, owner="www", group="web", acls=(RW,), context=SelinuxContext("httpd_t"), then=later
    ).describe()
    assert whole == "mode 4750, owner www:web, acl user:games:rw-, context *:*:httpd_t:*; then mode 0000"
    assert given().describe() == "nothing"


def test_of_two_contexts_the_last_is_what_the_object_ends_with():
    first, second = SelinuxContext("a_t"), SelinuxContext("b_t")
    assert given(context=first, then=given(context=second)).context == second
    assert given(context=first, then=given(mode=0o600)).context == first
    assert given().context is None
