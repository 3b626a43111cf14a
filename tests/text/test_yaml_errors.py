from __future__ import annotations

import pytest

from yaml_format import read


def errors_of(text: str) -> list[str]:
    root, problems = read(text)
    assert root is None
    return [str(problem) for problem in problems if problem.severity == "error"]


def test_a_tab_is_named_with_its_line():
    (error,) = errors_of("version: 0.0\nos: linux\nfiles:\n\t- source: x\n")
    assert error.startswith("f:4:1: A tab indents this line")
    assert "spaces" in error


def test_every_line_with_a_tab_is_named():
    errors = errors_of("files:\n\t- source: x\n\t  destination: /y\nos: linux\n  \tz: 1\n")
    assert [error.split(" ")[0] for error in errors] == ["f:2:1:", "f:3:1:", "f:5:3:"]


def test_hundreds_of_tabs_are_not_all_named():
    assert len(errors_of("files:\n" + "\t- x\n" * 1000)) == 20


def test_tabs_between_words_do_no_harm():
    assert read("version:\t0.0\nos: linux\t# a\n")[1] == []


def test_a_tab_before_a_comment_is_named_too():
    (error,) = errors_of("version: 0.0\nos: linux\n\t# b\n")
    assert error.startswith("f:3:1: A tab")


def test_what_is_nested_without_end_says_so_whichever_parser_notices_it_first():
    (error,) = errors_of("a: " + "[" * 50_000)
    assert "nested" in error
    assert "five" in error


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: b: c\n", "f:1:5:", "':'"),
        ("a:\n  b: 1\n c: 2\n", "f:3:2:", "map around it; it begins in line 1"),
        ("a:\n  - b\n  c: d\n", "f:3:3:", "list around it"),
        ("a: 1\nb\nc: 1\n", "f:2:1:", "without ':'"),
        ("a: 'b\nc: d\n", "f:1:4:", "never closed"),
        ("a: [b, c\nd: e\n", "f:2:2:", "square brackets"),
        ("a: {b: c\nd: e\n", "f:2:2:", "braces"),
        ('a: "\\q"\n', "f:1:5:", "backslash"),
        ("a: @b\n", "f:1:4:", "'@'"),
        ("a: `b`\n", "f:1:4:", "'`'"),
        ("a: - b\n", "f:1:4:", "'- '"),
        ("a: [,]\n", "f:1:5:", "missing"),
    ],
)
def test_broken_yaml_is_explained_with_its_place(text, place, words):
    (error,) = errors_of(text)
    assert error.startswith(place)
    assert words in error


def test_what_has_no_explanation_of_ours_still_has_its_place():
    (error,) = errors_of("a: !<\n")
    assert error.startswith("f:1:")
    assert "not YAML" in error


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("files:\n  - source: *.war\n", "f:2:", "'*' or '&' begins the name of an alias"),
        ("hooks:\n  A:\n    -location: a\n      timeout: 1\n", "f:3:5:", "no space follows it"),
        ("files:\n  -source: a\n   destination: b\n", "f:2:3:", "no space follows it"),
    ],
)
def test_a_sign_that_means_something_else_to_yaml_is_named(text, place, words):
    (error,) = errors_of(text)
    assert error.startswith(place)
    assert words in error
