from __future__ import annotations

import pytest


def mode(read, written: str):
    return read(f"permissions:\n  - object: /srv\n    mode: {written}\n")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("644", 0o644),
        ("'0644'", 0o644),
        ("0644", 0o644),
        ("0755", 0o755),
        ("4755", 0o4755),
        ("01755", 0o1755),
        ("7", 0o007),
        ("44", 0o044),
        ("0", 0),
        ("'000'", 0),
        ("00644", 0o644),
        ("0000000", 0),
        ("+644", 0o644),
        ("7_5_5", 0o755),
        ("0_644", 0o644),
    ],
)
def test_a_mode_is_what_its_author_meant(read, written, meant):
    reading = mode(read, written)
    assert reading.appspec.permissions[0].mode == meant
    assert reading.problems == []


@pytest.mark.parametrize("written", ["~", ""])
def test_no_mode_sets_none(read, written):
    assert mode(read, written).appspec.permissions[0].mode is None


def test_an_empty_mode_takes_all_rights_and_is_pointed_out(read):
    reading = mode(read, "''")
    assert reading.appspec.permissions[0].mode == 0
    assert "000" in reading.warning.message


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("888", "'8'"),
        ("-644", "'-'"),
        ("u+x", "'u'"),
        ("644.0", "'.'"),
        ("'6 4'", "' '"),
        ("'+644'", "'+'"),
        ("6_8_4", "'8'"),
        ("0x1ff", "'x'"),
        ("0o644", "'o'"),
        ("'00644'", "5 digits"),
        ("17777", "5 digits"),
        ("'٦٤٤'", "'٦'"),
        ("true", "'t'"),
        ("[644]", "a list"),
    ],
)
def test_another_mode_is_refused_with_what_is_wrong(read, written, found):
    error = mode(read, written).error
    assert found in error.message
    assert (error.line, error.column) == (5, 11)
