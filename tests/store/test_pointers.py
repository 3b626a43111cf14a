import os

import pytest

from agent.store.layout import RESTRICTED, Layout
from agent.store.pointers import read_last_successful, read_most_recent, write_most_recent


@pytest.fixture
def layout(tmp_path):
    return Layout(str(tmp_path))


def test_a_group_without_a_deployment_has_no_pointers(layout):
    assert read_most_recent(layout, "g") is None
    assert read_last_successful(layout, "g") is None


def test_a_pointer_is_the_directory_and_nothing_else_as_the_official_agents_read_it(layout):
    write_most_recent(layout, "g", "/r/g/d-1")
    with open(layout.most_recent("g"), "rb") as file:
        assert file.read() == b"/r/g/d-1"
    assert os.stat(layout.most_recent("g")).st_mode & 0o777 == 0o644


def test_a_newer_pointer_replaces_the_older_one_and_other_groups_are_left_alone(layout):
    write_most_recent(layout, "g", "/r/g/d-1")
    write_most_recent(layout, "g", "/r/g/d-2")
    write_most_recent(layout, "h", "/r/h/d-3")
    assert read_most_recent(layout, "g") == "/r/g/d-2"
    assert read_last_successful(layout, "g") is None


def test_restricted_pointers_are_closed_to_others(tmp_path):
    layout = Layout(str(tmp_path), modes=RESTRICTED)
    write_most_recent(layout, "g", "/r/g/d-1")
    assert os.stat(layout.most_recent("g")).st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("content", "meant"), [(b"/r/g/d-1\n", "/r/g/d-1"), (b"", None), (b"/r/\xff", "/r/\udcff")])
def test_a_pointer_fixed_by_hand_or_with_odd_bytes_is_read(layout, content, meant):
    os.makedirs(layout.instructions)
    with open(layout.last_successful("g"), "wb") as file:
        file.write(content)
    assert read_last_successful(layout, "g") == meant


def test_a_pipe_in_place_of_a_pointer_holds_nobody_up(layout):
    os.makedirs(layout.instructions)
    os.mkfifo(layout.last_successful("g"))
    assert read_last_successful(layout, "g") is None
