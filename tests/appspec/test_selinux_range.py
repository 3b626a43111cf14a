from __future__ import annotations

import pytest

from agent.appspec.selinux_range import RangeError, parse_range


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("s0", "s0"),
        ("s15", "s15"),
        ("s256", "s256"),
        ("s0-s0", "s0"),
        ("s0-s15", "s0-s15"),
        ("s0:c0", "s0:c0"),
        ("s0-s15:c0.c1023", "s0-s15:c0.c1023"),
        ("s1:c3,c1,c2", "s1:c1.c3"),
        ("s0:c0.c5,c7,c9.c9", "s0:c0.c5,c7,c9"),
        ("s00:c01", "s0:c1"),
        ("s0:c1,c3,", "s0:c1,c3"),
        ("s0:c1,c1.c2", "s0:c1.c2"),
    ],
)
def test_a_range_comes_out_as_the_official_agent_hands_it_on(text, parsed):
    assert parse_range(text) == parsed


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "''"),
        ("zz", "'zz'"),
        ("s", "'s'"),
        ("S0", "'S0'"),
        ("s0-", "''"),
        ("-s0", "''"),
        ("s0-s1-s2", "'s1-s2'"),
        ("s2-s1", "below 's2'"),
        ("s0:", "''"),
        ("s0:c1024", "'c1024'"),
        ("s0:,", "''"),
        ("s0:c1,,c2", "''"),
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
    with pytest.raises(RangeError) as caught:
        parse_range(text)
    assert found in str(caught.value)
    assert len(str(caught.value)) < 200
