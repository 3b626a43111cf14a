from __future__ import annotations

import pytest

from agent.appspec.model import FileMapping
from plain_entries import plain


def test_mappings_keep_order_words_and_lines(read):
    appspec = read(
        """
        files:
          - source: /a b/
            destination: ../x/
          - destination: /y
            source: '/'
        """
    ).appspec
    assert plain(appspec.files) == (FileMapping("/a b/", "../x/", 4), FileMapping("/", "/y", 6))


@pytest.mark.parametrize("text", ["010", "5", "1.50", "2020-01-01", "true", "No", "0x10"])
def test_a_source_that_looks_like_a_number_stays_as_it_is_written(read, text):
    appspec = read(f"files:\n  - source: {text}\n    destination: /x\n").appspec
    assert appspec.files[0].source == text


@pytest.mark.parametrize("text", ["5", "010", "1.50", "5.", ".5", "1,000", "-3", "1e3", "0x10", "true", "No"])
def test_a_number_or_truth_value_is_no_destination_unless_in_quotes(read, text):
    error = read(f"files:\n  - source: a\n    destination: {text}\n").error
    assert f"'{text}'" in error.message
    assert (error.line, error.column) == (5, 18)
    appspec = read(f"files:\n  - source: a\n    destination: '{text}'\n").appspec
    assert appspec.files[0].destination == text


@pytest.mark.parametrize("text", ["2020-01-01", "5a", "1.2.3", "10.0.0.1", "0.0.0/x", "yes/no", "."])
def test_a_destination_that_only_begins_like_a_number_is_a_path(read, text):
    assert read(f"files:\n  - source: a\n    destination: {text}\n").appspec.files[0].destination == text


def test_an_empty_map_holds_no_mappings(read):
    reading = read("files: {}\n")
    assert reading.appspec.files == ()
    assert "empty map" in reading.warning.message


def test_an_empty_source_is_the_whole_revision(read):
    reading = read("files:\n  - source: ''\n    destination: /x\n")
    assert reading.appspec.files[0].source == ""
    assert reading.problems == []


def test_an_empty_destination_is_the_root_directory_and_said_to_be(read):
    reading = read("files:\n  - source: x\n    destination: ''\n")
    assert reading.appspec.files[0].destination == ""
    assert "root directory" in reading.warning.message


@pytest.mark.parametrize("nothing", ["", "~", "null"])
@pytest.mark.parametrize("key", ["source", "destination"])
def test_an_entry_without_source_or_destination_is_refused(read, key, nothing):
    other = {"source": "destination", "destination": "source"}[key]
    error = read(f"files:\n  - {other}: x\n    {key}: {nothing}\n").error
    assert f"no {key}" in error.message
    assert (error.line, error.column) == (5, 5)


def test_a_missing_key_is_reported_at_its_misspelling_else_at_the_entry(read):
    found = read("files:\n  - source: a\n    destnation: /x\n  - {source: a}\n").errors
    assert [(error.line, error.column) for error in found] == [(5, 5), (6, 5)]


@pytest.mark.parametrize("value", ["[a]", "{a: b}"])
def test_a_source_that_is_no_text_is_refused(read, value):
    assert "source" in read(f"files:\n  - source: {value}\n    destination: /x\n").error.message


def test_a_nul_character_is_refused(read):
    assert "NUL" in read('files:\n  - source: "a\\0b"\n    destination: /x\n').error.message


@pytest.mark.parametrize("entry", ["app", "[a, b]", "~", "5"])
def test_an_entry_that_is_no_map_is_refused(read, entry):
    assert "source and destination" in read(f"files:\n  - {entry}\n").error.remedy


def test_a_map_in_place_of_the_list_is_refused(read):
    assert "must be a list" in read("files:\n  source: a\n  destination: /b\n").error.message


def test_unknown_keys_are_ignored_with_a_warning(read):
    reading = read("files:\n  - source: a\n    destination: /b\n    overwrite: true\n")
    assert len(reading.appspec.files) == 1
    assert "'overwrite'" in reading.warning.message


def test_a_misspelt_key_is_suggested_beside_the_error(read):
    reading = read("files:\n  - source: a\n    destinaton: /b\n")
    assert "no destination" in reading.error.message
    assert reading.warnings[0].remedy == "Did you mean 'destination'?"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("overwrite", "Write 'file_exists_behavior: OVERWRITE' at the top level"),
        ("owner", "Set it in the permissions section"),
        ("Mode", "Set it in the permissions section"),
        ("sourc", "Did you mean 'source'?"),
    ],
)
def test_a_key_that_no_agent_reads_there_is_told_its_place(read, key, meant):
    warning = read(f"files:\n  - source: a\n    destination: /b\n    {key}: x\n").warning
    assert warning.remedy.startswith(meant)
