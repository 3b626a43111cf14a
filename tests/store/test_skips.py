from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import SpecificationError
from agent.store.layout import Layout
from agent.store.skips import ask_for_skip, end_skip, skip_of, skips_of


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path))


def test_a_skip_is_of_one_event_of_one_group_and_counts_once(layout: Layout) -> None:
    ask_for_skip(layout, "web-1", "ApplicationStop", "alice")
    assert skips_of(layout) == {"web-1": ["ApplicationStop"]}
    found = skip_of(layout, "web-1", "ApplicationStop")
    assert found is not None
    assert found.by == "alice"
    assert skip_of(layout, "web-1", "BeforeBlockTraffic") is None
    assert skip_of(layout, "web", "ApplicationStop") is None
    assert end_skip(layout, "web-1", "ApplicationStop")
    assert not end_skip(layout, "web-1", "ApplicationStop")
    assert skip_of(layout, "web-1", "ApplicationStop") is None


def test_a_damaged_file_is_still_what_somebody_asked_for(layout: Layout) -> None:
    ask_for_skip(layout, "g", "ApplicationStop", "alice")
    Path(layout.state, "retry-skip", "ApplicationStop-g").write_bytes(b"[1")
    assert skip_of(layout, "g", "ApplicationStop") == ("", 0.0)


def test_a_group_that_is_not_a_name_is_refused(layout: Layout) -> None:
    with pytest.raises(SpecificationError):
        ask_for_skip(layout, "../etc", "ApplicationStop", "alice")
