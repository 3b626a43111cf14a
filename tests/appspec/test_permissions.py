from __future__ import annotations

import pytest

from agent.appspec.model import Permission
from plain_entries import plain


def permission(read, lines: str) -> Permission:
    return read(f"permissions:\n  - object: /srv\n    {lines}\n").appspec.permissions[0]


def error_of(read, lines: str) -> str:
    error = read(f"permissions:\n  - object: /srv\n    {lines}\n").error
    assert error.line >= 5
    return f"{error.message} {error.remedy}"


@pytest.mark.parametrize("written", ["''", "~", "", "' '"])
def test_an_entry_without_object_is_refused(read, written):
    assert "no object" in read(f"permissions:\n  - object: {written}\n").error.message


def test_spaces_around_the_object_do_not_count(read):
    assert read("permissions:\n  - object: ' /srv '\n").appspec.permissions[0].object == "/srv"


def test_an_entry_without_the_key_object_is_refused_where_it_begins(read):
    error = read("permissions:\n  - mode: 700\n").error
    assert (error.line, error.column) == (4, 5)


@pytest.mark.parametrize(
    ("written", "meant"), [("'*.txt'", "*.txt"), ("~", "**"), ("", "**"), ("10", "10"), ("''", "")]
)
def test_the_pattern_is_a_text(read, written, meant):
    assert permission(read, f"pattern: {written}").pattern == meant


def test_except_is_a_list_of_texts(read):
    assert permission(read, "except: ['*.key', 10, sub]").exclude == ("*.key", "10", "sub")
    assert permission(read, "except: ~").exclude == ()


@pytest.mark.parametrize("key", ["except", "type", "acls"])
def test_a_text_where_a_list_belongs_is_refused(read, key):
    assert "must be a list" in error_of(read, f"{key}: file")


@pytest.mark.parametrize("key", ["except", "type", "acls"])
def test_an_item_that_is_no_text_is_refused(read, key):
    assert key in error_of(read, f"{key}: [[file]]")


@pytest.mark.parametrize(
    ("written", "meant"), [("5", "5"), ("'5'", "5"), ("games", "games"), ("007", "007"), ("~", None)]
)
def test_owner_and_group_are_names_or_numbers(read, written, meant):
    assert permission(read, f"owner: {written}").owner == meant
    assert permission(read, f"group: {written}").group == meant


def test_an_empty_owner_sets_none_and_is_pointed_out(read):
    reading = read("permissions:\n  - object: /srv\n    owner: ''\n")
    assert reading.appspec.permissions[0].owner is None
    assert "empty" in reading.warning.message


@pytest.mark.parametrize("value", ["[a]", "{a: b}"])
def test_an_owner_that_is_no_text_is_refused(read, value):
    assert "owner" in error_of(read, f"owner: {value}")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("[file]", {"file"}), ("[directory, file]", {"file", "directory"}), ("~", {"file", "directory"})],
)
def test_types_are_file_and_directory(read, written, meant):
    assert permission(read, f"type: {written}").types == meant


def test_another_type_is_refused_with_a_suggestion(read):
    assert "Did you mean 'file'?" in error_of(read, "type: [files]")
    assert "file and directory" in error_of(read, "type: [link]")


def test_no_types_match_nothing_and_that_is_pointed_out(read):
    reading = read("permissions:\n  - object: /srv\n    type: []\n")
    assert reading.appspec.permissions[0].types == frozenset()
    assert "nothing" in reading.warning.message


def test_a_context_needs_only_its_type(read):
    context = permission(read, "context: {type: t}").context
    assert context is not None
    assert (context.type, context.user, context.range) == ("t", None, None)


@pytest.mark.parametrize("context", ["{name: u}", "{type: ~}", "{type: ''}"])
def test_a_context_without_type_is_refused(read, context):
    assert "no type" in error_of(read, f"context: {context}")


@pytest.mark.parametrize("context", ["t", "[t]"])
def test_a_context_that_is_no_map_is_refused(read, context):
    assert "context" in error_of(read, f"context: {context}")


def test_a_wrong_range_is_explained(read):
    assert "'zz' is not a sensitivity" in error_of(read, "context: {type: t, range: zz}")


def test_unknown_keys_are_ignored_with_a_suggestion(read):
    reading = read("permissions:\n  - object: /srv\n    Mode: 644\n    context: {type: t, role: r}\n")
    assert reading.appspec.permissions[0].mode is None
    assert [warning.line for warning in reading.warnings] == [5, 6]
    assert reading.warnings[0].remedy == "Did you mean 'mode'?"


def test_ten_thousand_entries_are_read(read):
    entry = "  - object: /srv/f{}\n    owner: games\n    group: games\n    mode: 640\n"
    appspec = read("permissions:\n" + "".join(entry.format(number) for number in range(10_000))).appspec
    assert len(appspec.permissions) == 10_000
    last = Permission("/srv/f9999", owner="games", group="games", mode=0o640, line=40_000)
    assert plain(appspec.permissions[-1:]) == (last,)


@pytest.mark.parametrize(
    ("keys", "user"), [("user: a_u", "a_u"), ("name: b_u", "b_u"), ("user: a_u, name: b_u", "b_u"), ("name: ''", None)]
)
def test_the_selinux_user_is_read_under_both_of_its_names(read, keys, user):
    text = f"permissions:\n  - object: /srv/x\n    context: {{type: t, {keys}}}\n"
    reading = read(text)
    assert reading.appspec.permissions[0].context.user == user
    assert reading.problems == []
