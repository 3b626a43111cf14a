import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.deployment.parse import safe_component
from agent.errors import SpecificationError


@pytest.mark.parametrize("text", ["web", "d-7XK2Q9B4T-local", "a b", "größe", "...", "-x", "x" * 200])
def test_a_plain_name_passes(text):
    assert safe_component(text, "group") == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("..", '".."'),
        (".", '"."'),
        ("a/b", "slash"),
        ("a\x00b", "control"),
        ("a\x7f", "control"),
        ("a\ud800", "valid"),
        ("x" * 201, "longer"),
    ],
)
def test_what_could_lead_elsewhere_is_refused_and_named(text, says):
    with pytest.raises(SpecificationError, match=says) as caught:
        safe_component(text, "deployment group")
    assert "deployment group" in caught.value.message


@given(st.text(st.characters(exclude_categories=())))
def test_whatever_passes_is_one_name_in_one_directory(text):
    try:
        name = safe_component(text, "group")
    except SpecificationError:
        return
    assert name not in ("", ".", "..")
    assert "/" not in name
    assert len(name.encode("utf-8", "surrogateescape")) <= 200
