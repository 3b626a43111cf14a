from __future__ import annotations

import pytest

from agent.text.suggest import closest, did_you_mean

KEYS = ["version", "os", "files", "file_exists_behavior", "permissions", "hooks", "mode", "owner"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("Files", "files"),
        ("file", "files"),
        ("flies", "files"),
        ("permisions", "permissions"),
        ("permissoins", "permissions"),
        ("file-exists-behavior", "file_exists_behavior"),
        ("file_exist_behaviour", "file_exists_behavior"),
        (":mode", "mode"),
        ("OS", "os"),
    ],
)
def test_a_slip_is_recognised(word, meant):
    assert closest(word, KEYS) == meant


@pytest.mark.parametrize("word", ["", "x", "foo", "Resources", "to", "or", "built", "o", "node_version", "f" * 100_000])
def test_another_word_is_not(word):
    assert closest(word, KEYS) is None
    assert did_you_mean(word, KEYS) == ""
