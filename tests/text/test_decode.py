from __future__ import annotations

import pytest

from agent.text.decode import MAX_DIRECTIVES
from agent.text.yaml_tree import MapNode
from yaml_format import FORMAT, read

GOOD = b"version: 0.0\nos: linux\n"


def test_a_byte_order_mark_is_no_hindrance():
    assert read(b"\xef\xbb\xbf" + GOOD)[1] == []


def test_windows_line_ends_are_no_hindrance():
    root, problems = read(b"version: 0.0\r\nos: linux\r\nfiles:\r\n  - source: a\r\n    destination: /b\r\n")
    assert problems == []
    assert isinstance(root, MapNode)
    assert list(root.entries) == ["version", "os", "files"]


def test_a_byte_that_is_not_utf8_is_named_with_its_place():
    root, problems = read(b"# caf\xe9\n" + GOOD)
    assert root is None
    assert "0xe9 at offset 5" in problems[0].message
    assert (problems[0].line, problems[0].column) == (1, 6)
    assert "iconv" in problems[0].remedy


def test_a_byte_that_is_not_utf8_is_counted_in_its_own_line():
    problems = read(GOOD + b"files: \xff\n")[1]
    assert (problems[0].line, problems[0].column) == (3, 8)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_encodings_are_called_by_their_name(encoding):
    problems = read(GOOD.decode().encode(encoding))[1]
    assert encoding.upper() in problems[0].message


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\ufffe"])
def test_a_control_character_is_named_with_its_place(character):
    problems = read(GOOD + f"x: a{character}b\n".encode())[1]
    assert f"U+{ord(character):04X}" in problems[0].message
    assert (problems[0].line, problems[0].column) == (3, 5)


def test_a_file_of_the_allowed_size_is_read_and_one_byte_more_is_not():
    padding = b"#" * (FORMAT.max_size - len(GOOD) - 1) + b"\n"
    assert read(padding + GOOD)[0] is not None
    root, problems = read(b"#" + padding + GOOD)
    assert root is None
    assert str(FORMAT.max_size) in problems[0].message


def test_a_few_directives_are_allowed_and_many_are_not():
    few = b"%YAML 1.1\n" + b"".join(b"%%TAG !a%d! x\n" % number for number in range(MAX_DIRECTIVES - 1))
    assert read(few + b"---\n" + GOOD)[1] == []
    many = b"".join(b"%%TAG !a%d! x\n" % number for number in range(MAX_DIRECTIVES + 1))
    root, problems = read(many + b"---\n" + GOOD)
    assert root is None
    assert "'%'" in problems[0].message
