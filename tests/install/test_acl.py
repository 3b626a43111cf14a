from __future__ import annotations

import itertools
import os
import stat
import struct
import subprocess

import pytest

from agent.appspec.model import AclEntry
from agent.errors import InstallError
from agent.install import acl
from agent.install.owners import OwnerLookup

RW = AclEntry("user", "games", 6)
READERS = AclEntry("group", "games", 4)


def resolved(*entries):
    found, problems, _ = acl.resolve_acl(entries, OwnerLookup())
    assert problems == []
    return found


def set_on(path, found):
    mode = stat.S_IMODE(path.stat().st_mode)
    acl.apply(str(path), acl.access_acl(found, mode=mode), acl.default_acl(found, mode=mode), shown=str(path))


def getfacl(path, *options):
    done = subprocess.run(["getfacl", "-cpE", *options, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.split()


def make(path, mode):
    path.write_text("x")
    path.chmod(mode)
    return path


@pytest.mark.needs_tool("getfacl")
def test_named_entries_get_no_more_than_the_group_bits_of_the_mode(tmp_path):
    path = make(tmp_path / "one.txt", 0o644)
    set_on(path, resolved(RW, READERS))
    assert getfacl(path) == [
        "user::rw-",
        "user:games:rw-",
        "group::r--",
        "group:games:r--",
        "mask::r--",
        "other::r--",
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.needs_tool("getfacl")
def test_a_mask_of_the_appspec_takes_the_place_of_the_group_bits(tmp_path):
    path = make(tmp_path / "one.txt", 0o640)
    set_on(path, resolved(RW, AclEntry("mask", "", 6)))
    assert getfacl(path) == ["user::rw-", "user:games:rw-", "group::r--", "mask::rw-", "other::---"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


@pytest.mark.needs_tool("getfacl")
def test_an_object_gets_a_mask_of_its_own_whatever_others_have(tmp_path):
    found = resolved(RW)
    open_file, closed_file = make(tmp_path / "open", 0o644), make(tmp_path / "closed", 0o600)
    for path in (open_file, closed_file):
        set_on(path, found)
    assert getfacl(closed_file) == ["user::rw-", "user:games:rw-", "group::---", "mask::---", "other::---"]
    assert stat.S_IMODE(open_file.stat().st_mode) == 0o644
    assert stat.S_IMODE(closed_file.stat().st_mode) == 0o600


@pytest.mark.needs_tool("getfacl")
def test_default_entries_are_completed_by_the_mode_and_the_group_is_their_mask(tmp_path):
    tmp_path.chmod(0o750)
    set_on(tmp_path, resolved(AclEntry("user", "games", 7, default=True)))
    assert getfacl(tmp_path) == [
        "user::rwx",
        "group::r-x",
        "other::---",
        "default:user::rwx",
        "default:user:games:rwx",
        "default:group::r-x",
        "default:mask::r-x",
        "default:other::---",
    ]


@pytest.mark.needs_tool("getfacl")
def test_default_base_entries_of_the_appspec_are_kept(tmp_path):
    tmp_path.chmod(0o755)
    given = [
        AclEntry("user", "", 6, default=True),
        AclEntry("group", "", 2, default=True),
        AclEntry("other", "", 0, default=True),
        AclEntry("group", "games", 7, default=True),
    ]
    set_on(tmp_path, resolved(*given))
    assert getfacl(tmp_path, "-d") == ["user::rw-", "group::-w-", "group:games:rwx", "mask::-w-", "other::---"]


def test_a_list_without_default_entries_leaves_an_inherited_default_list(tmp_path):
    set_on(tmp_path, resolved(AclEntry("user", "games", 7, default=True)))
    inner = tmp_path / "inner"
    inner.mkdir()
    before = acl.read(str(inner))[1]
    set_on(inner, resolved(RW))
    assert before is not None
    assert acl.read(str(inner))[1] == before


def official_setfacl(found_entries, path):
    """The command that the official agent 1.8.1 runs (behaviour of its first object)."""
    user, group, other = (f"{stat.S_IMODE(os.stat(path).st_mode):03o}"[-3:]) if path else ""
    texts = [acl.written(entry) for entry in found_entries]
    texts += [f"user::{user}", f"group::{group}", f"other::{other}"]
    plain = [entry for entry in found_entries if not entry.default]
    if any(entry.name for entry in plain) and not any(entry.tag == "mask" for entry in plain):
        texts.append(f"mask::{group}")
    defaults = [entry for entry in found_entries if entry.default]
    if defaults:
        bases = {entry.tag: entry.perm for entry in defaults if not entry.name}
        for tag, perm in (("user", user), ("group", group), ("other", other)):
            if tag not in bases:
                texts.append(f"default:{tag}::{perm}")
        if any(entry.name for entry in defaults) and "mask" not in bases:
            texts.append(f"default:mask::{bases.get('group', int(group))}")
    subprocess.run(["setfacl", "--set", ",".join(texts), path], check=True)


MIXES = [
    [RW],
    [READERS, RW],
    [AclEntry("user", "12345", 7), AclEntry("user", "5", 1), AclEntry("group", "0", 2), AclEntry("mask", "", 5)],
    [AclEntry("mask", "", 7)],
    [AclEntry("user", "games", 7, default=True)],
    [RW, AclEntry("group", "games", 5, default=True), AclEntry("group", "", 7, default=True)],
    [AclEntry("mask", "", 1, default=True), AclEntry("other", "", 7, default=True)],
]


@pytest.mark.needs_tool("setfacl")
@pytest.mark.parametrize("entries", MIXES)
def test_the_kernel_holds_the_same_as_after_the_official_agents_setfacl(tmp_path, entries):
    for number, mode in enumerate([0o777, 0o750, 0o640, 0o004, 0o2775, 0o1777]):
        ours, theirs = tmp_path / f"ours{number}", tmp_path / f"theirs{number}"
        for directory in (ours, theirs):
            directory.mkdir()
            directory.chmod(mode)
        set_on(ours, resolved(*entries))
        official_setfacl(entries, str(theirs))
        assert acl.read(str(ours)) == acl.read(str(theirs))
        assert ours.stat().st_mode == theirs.stat().st_mode


def test_entries_come_in_the_kernels_order_whatever_the_appspecs(tmp_path):
    entries = [AclEntry("user", "9", 4), AclEntry("mask", "", 6), AclEntry("group", "3", 4), AclEntry("user", "2", 4)]
    values = {acl.access_acl(resolved(*order), mode=0o640) for order in itertools.permutations(entries)}
    assert len(values) == 1
    path = make(tmp_path / "one.txt", 0o640)
    set_on(path, resolved(*entries))
    assert acl.read(str(path))[0] in values


def test_a_base_entry_is_referred_to_the_mode():
    _, problems, _ = acl.resolve_acl([AclEntry("user", "", 6), AclEntry("other", "", 0)], OwnerLookup())
    assert [text for _, text in problems] == [
        "the acls entry user::rw- sets a base entry; set it with mode instead",
        "the acls entry other::--- sets a base entry; set it with mode instead",
    ]


def test_unknown_names_are_all_found():
    entries = [AclEntry("user", "no-such-user", 6), RW, AclEntry("group", "no-such-group", 4)]
    found, problems, _ = acl.resolve_acl(entries, OwnerLookup())
    assert [entry for entry, _ in problems] == [entries[0], entries[2]]
    assert ["no-such-user" in problems[0][1], "no-such-group" in problems[1][1]] == [True, True]
    assert len(found.access) == 1


def test_a_name_where_none_can_be_is_a_problem():
    _, problems, _ = acl.resolve_acl([AclEntry("mask", "games", 6)], OwnerLookup())
    assert len(problems) == 1


def test_of_two_entries_for_one_user_the_later_counts_and_a_warning_says_so():
    found, problems, warnings = acl.resolve_acl([RW, AclEntry("user", "5", 4)], OwnerLookup())
    assert (found, problems) == (resolved(AclEntry("user", "5", 4)), [])
    assert [text for _, text in warnings] == ["the acls entry user:5:r-- takes the place of an earlier one with rw-"]


def test_the_same_entry_twice_is_no_matter():
    assert acl.resolve_acl([RW, RW], OwnerLookup()) == (resolved(RW), [], [])


def test_what_was_read_is_put_back_also_that_there_was_none(tmp_path):
    tmp_path.chmod(0o750)
    plain = acl.read(str(tmp_path))
    set_on(tmp_path, resolved(RW, AclEntry("user", "games", 7, default=True)))
    full = acl.read(str(tmp_path))
    acl.write(str(tmp_path), *plain)
    assert acl.read(str(tmp_path)) == (None, None) == plain
    acl.write(str(tmp_path), *full)
    assert acl.read(str(tmp_path)) == full


def test_an_open_file_takes_its_list_through_the_descriptor(tmp_path):
    path = make(tmp_path / "one.txt", 0o644)
    with path.open("r+") as file:
        value = acl.access_acl(resolved(RW), mode=0o644)
        acl.apply(file.fileno(), value, None, shown="one.txt")
        assert acl.read(file.fileno()) == (value, None) == acl.read(str(path))


def test_a_file_system_without_lists_is_named():
    ends = os.pipe()  # the file system of pipes keeps none
    try:
        with pytest.raises(InstallError, match=r"ACL of /srv/app/one\.txt .* keeps no ACLs"):
            acl.apply(ends[0], acl.access_acl(resolved(RW), mode=0o644), None, shown="/srv/app/one.txt")
    finally:
        for end in ends:
            os.close(end)


def test_another_failure_keeps_its_reason(tmp_path):
    with pytest.raises(InstallError, match="No such file"):
        acl.apply(str(tmp_path / "gone"), acl.access_acl(resolved(RW), mode=0o644), None, shown="gone")


def test_support_is_asked_where_the_path_will_be(tmp_path):
    assert acl.supported(str(tmp_path / "not" / "there" / "yet"))
    assert acl.supported(str(make(tmp_path / "file", 0o644) / "below"))
    assert not acl.supported("/proc/self")


@pytest.mark.needs_tool("getfacl")
def test_a_list_is_described_as_getfacl_prints_it(tmp_path):
    path = make(tmp_path / "one.txt", 0o640)
    set_on(path, resolved(RW, READERS, AclEntry("user", "54321", 1)))
    value = acl.read(str(path))[0]
    assert acl.describe(value) == getfacl(path)


@pytest.mark.parametrize("value", [b"", b"\2\0\0\0\1", struct.pack("<I", 3)])
def test_a_damaged_list_is_refused(value):
    with pytest.raises(InstallError):
        acl.describe(value)


def test_an_entry_is_written_as_the_official_instructions_have_it():
    assert acl.written(RW) == "user:games:rw-"
    assert acl.written(AclEntry("mask", "", 5, default=True)) == "default:mask::r-x"
