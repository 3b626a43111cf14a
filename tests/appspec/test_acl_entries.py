from __future__ import annotations

import pytest

from agent.appspec.model import AclEntry
from plain_entries import plain


def acls(read, *entries: str):
    lines = "".join(f"      - {entry}\n" for entry in entries)
    return read(f"permissions:\n  - object: /srv\n    acls:\n{lines}")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("u:games:rw", AclEntry("user", "games", 6)),
        ("user:games:rwx", AclEntry("user", "games", 7)),
        ("g:games:r-x", AclEntry("group", "games", 5)),
        ("group:games:x-r", AclEntry("group", "games", 5)),
        ("games:6", AclEntry("user", "games", 6)),
        ("m::rw", AclEntry("mask", "", 6)),
        ("mask:rw", AclEntry("mask", "", 6)),
        ("d:u:games:rw", AclEntry("user", "games", 6, True)),
        ("default:games:-", AclEntry("user", "games", 0, True)),
        ("d:u::7", AclEntry("user", "", 7, True)),
        ("d::rwx", AclEntry("user", "", 7, True)),
        ("d:o::r", AclEntry("other", "", 4, True)),
        ("d:o:r", AclEntry("other", "", 4, True)),
        ("d:m:0", AclEntry("mask", "", 0, True)),
        ("'u:1000:r'", AclEntry("user", "1000", 4)),
    ],
)
def test_an_entry_is_understood(read, written, meant):
    reading = acls(read, written)
    assert plain(reading.appspec.permissions[0].acls) == (meant,)
    assert reading.problems == []


@pytest.mark.parametrize(
    "written", ["nonsense", "'a:b:c:d'", "x:games:r", "d:d:games:r", "u:g:games:r", "o:games:r", "m:games:r", "''"]
)
def test_nonsense_is_refused_with_the_form_of_an_entry(read, written):
    error = acls(read, written).error
    assert "not understood" in error.message
    assert "name:permissions" in error.remedy
    assert (error.line, error.column) == (6, 9)


@pytest.mark.parametrize("written", ["u::rw", "g::r", "o::r", "o:r", "':r'"])
def test_the_rights_of_the_owner_are_left_to_mode(read, written):
    assert "mode" in acls(read, written).error.remedy


@pytest.mark.parametrize(("written", "letter"), [("u:games:rq", "'q'"), ("u:games:8", "'8'"), ("u:games:66", "'6'")])
def test_a_wrong_letter_is_named(read, written, letter):
    assert letter in acls(read, written).error.message


def test_an_entry_that_became_a_map_is_explained(read):
    assert "space after the colon" in acls(read, "'u:games': rw").error.remedy


def test_an_entry_without_permissions_gives_none_and_is_pointed_out(read):
    reading = acls(read, "'u:games:'")
    assert plain(reading.appspec.permissions[0].acls) == (AclEntry("user", "games", 0),)
    assert "without permissions" in reading.warning.message


def test_of_two_entries_for_one_the_last_counts_as_with_setfacl(read):
    reading = acls(read, "u:games:r", "g:games:r", "user:games:w")
    assert plain(reading.appspec.permissions[0].acls) == (AclEntry("user", "games", 2), AclEntry("group", "games", 4))
    assert reading.warning.line == 8
    assert "'user:games:w'" in reading.warning.message
