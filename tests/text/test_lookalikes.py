"""What was copied from a web page or a word processor is named by its character."""

from __future__ import annotations

import pytest

from agent.text.lookalikes import lookalikes
from agent.text.yaml_tree import MapNode, ScalarNode
from yaml_format import read


@pytest.mark.parametrize(
    ("text", "places", "words"),
    [
        ("os:\u00a0linux\n", [(1, 4)], "no-break space (U+00A0)"),
        ("a: 1\nb:\n\u3000 c: 1\n", [(3, 1)], "ideographic space (U+3000)"),
        ("location: \u201cscripts/a.sh\u201d\n", [(1, 11), (1, 24)], "curly quote \u201c (U+201C)"),
        ("except: [\u2018*.key\u2019, b]\n", [(1, 10), (1, 16)], "curly quote"),
        ("files:\n  \u2013 source: a\n", [(2, 3)], "dash \u2013 (U+2013)"),
    ],
)
def test_a_lookalike_is_found_at_its_place(text: str, places: list[tuple[int, int]], words: str) -> None:
    found = list(lookalikes(text))
    assert [(each.line, each.column) for each in found] == places
    assert words in found[0].message


@pytest.mark.parametrize(
    "text",
    [
        "# it\u2019s\u00a0here\n",
        "a: 1 # \u201cquoted\u201d\n",
        "source: caf\u00e9 \u2013 it\u2019s/x\n",
        "source: plain\n",
    ],
)
def test_comments_and_names_are_left_alone(text: str) -> None:
    assert list(lookalikes(text)) == []


def test_a_space_that_breaks_the_yaml_is_the_error() -> None:
    root, (error,) = read("a: 1\nfiles:\u00a0[]\nhooks: {}\n")
    assert root is None
    assert (error.line, error.column) == (2, 7)
    assert "no-break space (U+00A0)" in error.message


def test_quotes_that_quote_nothing_are_pointed_out_beside_what_they_do() -> None:
    root, warnings = read("location: \u201ca.sh\u201d\n")
    assert isinstance(root, MapNode)
    value = root.entries["location"][1]
    assert isinstance(value, ScalarNode)
    assert value.text == "\u201ca.sh\u201d"
    assert [(warning.severity, warning.remedy) for warning in warnings] == [("warning", "Write ' or \".")] * 2
