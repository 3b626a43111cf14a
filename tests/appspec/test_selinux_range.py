from __future__ import annotations

import pytest

from agent.appspec.selinux_range import problem_of


@pytest.mark.parametrize(
    "text",
    [
        "s0",
        "s15",
        "s255",
        "s0-s0",
        "s0-s15",
        "s1-s2",
        "s0:c0",
        "s0-s15:c0.c1023",
        "s1:c3,c1,c2",
        "s0:c0.c5,c7,c9.c9",
        "s00:c01",
    ],
)
def test_a_range_of_the_documented_form_is_right(text):
    assert problem_of(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "''"),
        ("zz", "'zz'"),
        ("s", "'s'"),
        ("s256", "'s256'"),
        ("S0", "'S0'"),
        ("s0-", "''"),
        ("-s0", "''"),
        ("s0-s1-s2", "'s1-s2'"),
        ("s2-s1", "below 's2'"),
        ("s0:", "''"),
        ("s0:c1024", "'c1024'"),
        ("s0:c1,", "''"),
        ("s0:c5.c1", "'c5.c1'"),
        ("s0:c1.", "''"),
        ("s0:c1.c2.c3", "'c2.c3'"),
        ("s0:s1", "'s1'"),
        ("s٣", "'s٣'"),
        ("s" + "9" * 6000, "..."),
        ("s0 ", "'s0 '"),
    ],
)
def test_a_wrong_range_is_named_with_what_is_wrong(text, found):
    problem = problem_of(text)
    assert problem is not None
    assert found in problem
    assert len(problem) < 200
