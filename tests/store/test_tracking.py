"""The official agents' tracking files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from agent.store.layout import RESTRICTED, Layout
from agent.store.tracking import remove_tracking, tracked, write_tracking


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "root"))


def test_the_file_is_what_an_official_agent_writes(layout: Layout) -> None:
    write_tracking(layout, "d-1", "hc-1")
    path = Path(layout.root_dir, "ongoing-deployment", "d-1")
    assert path.read_bytes() == b"hc-1"
    assert path.stat().st_mode & 0o777 == 0o644


def test_restricted_directories_stay_restricted(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "root"), modes=RESTRICTED)
    write_tracking(layout, "d-1", "hc-1")
    path = Path(layout.root_dir, "ongoing-deployment", "d-1")
    assert [place.stat().st_mode & 0o777 for place in (path.parent, path)] == [0o700, 0o600]


def test_another_commands_file_is_not_removed(layout: Layout) -> None:
    write_tracking(layout, "d-1", "hc-2")
    remove_tracking(layout, "d-1", "hc-1")
    assert [found.command_identifier for found in tracked(layout)] == ["hc-2"]
    remove_tracking(layout, "d-1", "hc-2")
    assert tracked(layout) == []


def test_the_newest_comes_first_as_the_official_agents_take_it(layout: Layout) -> None:
    for age, name in ((30, "d-old"), (10, "d-new"), (20, "d-middle")):
        write_tracking(layout, name, f"hc-{name}")
        os.utime(layout.tracking(name), (time.time() - age,) * 2)
    assert [found.deployment_id for found in tracked(layout)] == ["d-new", "d-middle", "d-old"]


def test_a_file_of_yesterday_is_dropped(layout: Layout) -> None:
    write_tracking(layout, "d-1", "hc-1")
    os.utime(layout.tracking("d-1"), (time.time() - 24 * 3600 - 5,) * 2)
    assert tracked(layout) == []
    assert not os.path.exists(layout.tracking("d-1"))


@pytest.mark.parametrize("content", [b"", b" \n", b"a\nb", b"\xff", b"\x00", b"x" * 5000])
def test_what_makes_no_sense_is_moved_away_and_the_rest_is_read(layout: Layout, content: bytes) -> None:
    write_tracking(layout, "d-1", "hc-1")
    Path(layout.tracking("d-2")).write_bytes(content)
    assert [found.command_identifier for found in tracked(layout)] == ["hc-1"]
    assert [path.read_bytes() for path in Path(layout.state, "set-aside").iterdir()] == [content]


def test_a_fifo_or_a_directory_among_them_stops_nothing(layout: Layout) -> None:
    write_tracking(layout, "d-1", "hc-1")
    os.mkfifo(layout.tracking("d-2"))
    os.mkdir(layout.tracking("d-3"))
    assert [found.command_identifier for found in tracked(layout)] == ["hc-1"]
