"""Which hosts a tag filter means."""

from __future__ import annotations

import pytest

from agent.sandbox.engine.tags import matches, selected

TAGS = {"Role": "web", "Stage": "test"}


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({"Key": "Role", "Value": "web", "Type": "KEY_AND_VALUE"}, True),
        ({"Key": "Role", "Value": "db", "Type": "KEY_AND_VALUE"}, False),
        ({"Key": "Role", "Type": "KEY_ONLY"}, True),
        ({"Key": "Owner", "Type": "KEY_ONLY"}, False),
        ({"Value": "test", "Type": "VALUE_ONLY"}, True),
        ({"Key": "Role", "Value": "web"}, True),
        ({"Key": "Role"}, True),
    ],
)
def test_a_filter_goes_by_key_value_or_both(filter_: dict[str, str], expected: bool) -> None:
    assert matches(filter_, TAGS) is expected


def test_of_filters_one_must_match_and_of_every_tag_set_one() -> None:
    web, database = {"Key": "Role", "Value": "web"}, {"Key": "Role", "Value": "db"}
    test, live = {"Key": "Stage", "Value": "test"}, {"Key": "Stage", "Value": "live"}
    assert selected([database, web], [], TAGS)
    assert selected([], [[database, web], [test]], TAGS)
    assert not selected([], [[web], [live]], TAGS)
    assert not selected([], [], TAGS)
