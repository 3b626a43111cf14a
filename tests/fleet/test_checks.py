"""Tags as people type them."""

from __future__ import annotations

import pytest

from agent.fleet.checks import Tag, parse_tags
from agent.fleet.errors import RegistrationError


def test_both_ways_of_writing_tags_are_read() -> None:
    assert parse_tags(["Fleet=web", "Key=Name,Value=a,b=c", "Empty="]) == (
        Tag("Fleet", "web"),
        Tag("Name", "a,b=c"),
        Tag("Empty", ""),
    )


@pytest.mark.parametrize("text", ["Fleet", "=web", "k" * 129 + "=v", "k=" + "v" * 257])
def test_a_tag_that_the_service_would_refuse_is_refused_here(text) -> None:
    with pytest.raises(RegistrationError, match="tag"):
        parse_tags([text])


def test_an_instance_has_ten_tags_at_most() -> None:
    assert len(parse_tags([f"k{n}=v" for n in range(10)])) == 10
    with pytest.raises(RegistrationError, match="11 tags"):
        parse_tags([f"k{n}=v" for n in range(11)])
