from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.appspec.patterns import matcher


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["a", ".hidden", "a.txt"]),
        ("**", ["a", ".hidden"]),
        ("*.txt", ["a.txt", ".txt"]),
        ("**.txt", ["a.txt", ".txt"]),
        ("a*", ["a", "ab"]),
        ("a*b*c", ["abc", "axbxc", "abbcc"]),
        ("a.txt", ["a.txt"]),
        ("?ne", ["?ne"]),
        ("[ab]*", ["[ab]", "[ab]c"]),
    ],
)
def test_a_pattern_matches(pattern, names):
    matches = matcher(pattern)
    assert all(matches(name) for name in names)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.txt", ["a.txt2", "txt"]),
        ("ab*bc", ["abc"]),
        ("a*b*c", ["ac", "acb", "abcd"]),
        ("a.txt", ["aXtxt", "a.txtx", ""]),
        ("?ne", ["one"]),
        ("[ab]", ["a", "b"]),
        ("sub/*", ["sub", "a", "sub/a"]),
        ("", ["a"]),
        ("A", ["a"]),
    ],
)
def test_a_pattern_does_not_match(pattern, names):
    matches = matcher(pattern)
    assert not any(matches(name) for name in names)


@given(st.text("ab.*", max_size=8), st.text("ab.", max_size=8))
def test_a_star_is_any_run_and_nothing_else_is_special(pattern, name):
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL)
    assert matcher(pattern)(name) is bool(expected)


def test_a_pattern_full_of_stars_ends():
    assert not matcher("*a" * 500 + "b")("a" * 50_000)
