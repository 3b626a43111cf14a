from __future__ import annotations

import pytest

from agent.appspec import hooks
from agent.appspec.model import Script
from agent.deployment.lifecycle import LIFECYCLE
from plain_entries import plain


def script(read, lines: str) -> Script:
    return read(f"hooks:\n  AfterInstall:\n    - location: h.sh\n      {lines}\n").appspec.hooks["AfterInstall"][0]


def test_the_events_are_those_of_the_lifecycle_table():
    assert [event.name for event in LIFECYCLE if event.is_hook] == list(hooks.EVENTS)
    assert {event.name for event in LIFECYCLE if not event.is_hook} <= set(hooks.RESERVED_EVENTS)


def test_scripts_keep_their_order_and_lines(read):
    appspec = read("hooks:\n  AfterInstall:\n    - location: b.sh\n    - location: a.sh\n").appspec
    assert plain(appspec.hooks["AfterInstall"]) == (Script("b.sh", line=5), Script("a.sh", line=6))


@pytest.mark.parametrize("nothing", ["", "~", "[]", "false", "no"])
def test_an_event_with_nothing_has_no_scripts(read, nothing):
    assert read(f"hooks:\n  AfterInstall: {nothing}\n").appspec.hooks == {"AfterInstall": ()}


def test_an_event_with_an_empty_map_has_no_scripts_and_is_warned_of(read):
    reading = read("hooks:\n  AfterInstall: {}\n")
    assert reading.appspec.hooks == {"AfterInstall": ()}
    assert "empty map" in reading.warning.message


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("5", "5"),
        ("010", "010"),
        ("' a/b.sh '", "a/b.sh"),
        ("/a/b.sh", "/a/b.sh"),
        ("//a", "//a"),
        ("a b.sh", "a b.sh"),
    ],
)
def test_a_location_is_a_path_in_the_revision(read, written, meant):
    appspec = read(f"hooks:\n  AfterInstall:\n    - location: {written}\n").appspec
    assert appspec.hooks["AfterInstall"][0].location == meant


@pytest.mark.parametrize("location", ["", "~", "''", "' '", "/"])
def test_a_script_without_location_is_refused(read, location):
    error = read(f"hooks:\n  AfterInstall:\n    - location: {location}\n").error
    assert "no location" in error.message
    assert error.line == 5


@pytest.mark.parametrize("location", ["[a]", "{a: b}"])
def test_a_location_that_is_no_text_is_refused(read, location):
    assert "location" in read(f"hooks:\n  AfterInstall:\n    - location: {location}\n").error.message


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2", 2),
        ("'2'", 2),
        ('"300"', 300),
        ("+7", 7),
        ("~", 3600),
        ("", 3600),
        ("false", 3600),
        ("300.0", 300),
        ("060", 60),
        ("08", 8),
        ("'010'", 10),
        ("1_000", 1000),
        ("1,000", 1000),
        ("0x10", 16),
        ("0x0_1F", 31),
        ("' 300 '", 300),
    ],
)
def test_a_timeout_is_taken_as_a_number_however_it_is_written(read, written, seconds):
    reading = read(f"hooks:\n  AfterInstall:\n    - location: h.sh\n      timeout: {written}\n")
    assert reading.appspec.hooks["AfterInstall"][0].timeout == seconds
    assert reading.problems == []


@pytest.mark.parametrize(
    ("written", "seconds"), [("1.9", 1), ("30s", 30), ("5 minutes", 5), ("1:30", 5400), ("1:00:01", 3601), ("1e3", 1)]
)
def test_what_1_8_1_makes_of_an_odd_timeout_is_said(read, written, seconds):
    reading = read(f"hooks:\n  AfterInstall:\n    - location: h.sh\n      timeout: {written}\n")
    assert reading.appspec.hooks["AfterInstall"][0].timeout == seconds
    assert any(f"counts as {seconds} s" in warning.message for warning in reading.warnings)


@pytest.mark.parametrize(
    "timeout",
    ["0", "-5", "abc", "[1]", "{a: 1}", "true", "''", "0.9", ".5", "-0", "0:0", ".inf", "0x0", "-0x5", "'0x'"],
)
def test_a_timeout_that_is_no_time_is_refused(read, timeout):
    error = read(f"hooks:\n  AfterInstall:\n    - location: h.sh\n      timeout: {timeout}\n").error
    assert "timeout" in error.message
    assert (error.line, error.column) == (6, 16)


@pytest.mark.parametrize("timeout", ["9" * 5000, "0" * 5000 + "9" * 20, f"{'9' * 5000}:00", f"0x{'f' * 100}"])
def test_a_timeout_of_astronomic_length_is_cut(read, timeout):
    assert script(read, f"timeout: {timeout}").timeout == 999_999_999


@pytest.mark.parametrize(
    ("written", "user"),
    [
        ("games", "games"),
        ("' games '", "games"),
        ("''", None),
        ("' '", None),
        ("~", None),
        ("", None),
        ("true", "true"),
        ("5", "5"),
    ],
)
def test_runas_is_a_text_or_nothing(read, written, user):
    assert script(read, f"runas: {written}").runas == user


@pytest.mark.parametrize("written", ["true", "yes", "on", "True", "YES"])
def test_sudo_is_on(read, written):
    reading = read(f"hooks:\n  AfterInstall:\n    - location: h.sh\n      sudo: {written}\n")
    assert reading.appspec.hooks["AfterInstall"][0].sudo is True
    assert reading.problems == []


@pytest.mark.parametrize("written", ["false", "no", "off", "", "~", "False"])
def test_sudo_is_off(read, written):
    assert script(read, f"sudo: {written}").sudo is False


@pytest.mark.parametrize("written", ["'false'", "0", "1", "maybe", "[]"])
def test_any_other_sudo_counts_as_on_and_is_pointed_out(read, written):
    reading = read(f"hooks:\n  AfterInstall:\n    - location: h.sh\n      sudo: {written}\n")
    assert reading.appspec.hooks["AfterInstall"][0].sudo is True
    assert "counts as true" in reading.warning.message


@pytest.mark.parametrize("entry", ["h.sh", "[h.sh]", "~"])
def test_a_script_that_is_no_map_is_refused(read, entry):
    error = read(f"hooks:\n  AfterInstall:\n    - {entry}\n").error
    assert "location:" in error.remedy


@pytest.mark.parametrize("event", ["h.sh", "{location: h.sh}", "5", "true"])
def test_an_event_that_is_no_list_is_refused(read, event):
    error = read(f"hooks:\n  AfterInstall: {event}\n").error
    assert "'AfterInstall' must be a list" in error.message


def test_hooks_that_are_a_list_are_refused(read):
    assert "must be a map" in read("hooks:\n  - location: h.sh\n").error.message


@pytest.mark.parametrize(
    ("event", "meant"),
    [("afterinstall", "AfterInstall"), ("AfterInstal", "AfterInstall"), ("Application_Start", "ApplicationStart")],
)
def test_a_misspelt_event_is_an_error_with_a_suggestion_where_the_events_are_known(read, event, meant):
    reading = read(f"hooks:\n  {event}:\n    - location: h.sh\n", events=())
    (error,) = reading.errors
    assert (error.line, error.column, error.remedy) == (4, 3, f"Did you mean {meant!r}?")
    assert event in reading.appspec.hooks, "what else is wrong can be found as well"


def test_an_event_of_ones_own_is_taken_where_it_is_known_or_nothing_is(read):
    text = "hooks:\n  Bogus:\n    - location: h.sh\n"
    assert read(text, events=("Bogus",)).problems == []
    assert read(text).problems == []
    (error,) = read(text, events=("Smoke",)).errors
    assert error.remedy.startswith("Known events: BeforeBlockTraffic, ")
    assert error.remedy.endswith(", Smoke.")


@pytest.mark.parametrize("key", ["args", "Arguments", "env"])
def test_what_a_script_cannot_be_given_is_said(read, key):
    remedy = read(f"hooks:\n  AfterInstall:\n    - location: h.sh\n      {key}: x\n").warning.remedy
    assert remedy.startswith("A script gets no arguments")


@pytest.mark.parametrize("event", ["Install", "DownloadBundle", "BlockTraffic"])
def test_scripts_that_never_run_are_pointed_out(read, event):
    assert "never run" in read(f"hooks:\n  {event}:\n    - location: h.sh\n").warning.message


def test_limits_that_add_up_to_more_than_the_services_hour_are_pointed_out(read):
    text = "hooks:\n  AfterInstall:\n    - {{location: a, timeout: 1800}}\n    - {{location: b, timeout: {}}}\n"
    assert read(text.format(1800)).problems == []
    warning = read(text.format(1801)).warning
    assert "3601 seconds" in warning.message
    assert warning.line == 4


def test_scripts_without_limits_of_their_own_are_no_reason_to_warn(read):
    assert read("hooks:\n  AfterInstall:\n    - location: a\n    - location: b\n").problems == []


def test_unknown_keys_of_a_script_are_ignored_with_a_warning(read):
    reading = read("hooks:\n  AfterInstall:\n    - location: h.sh\n      run_as: games\n")
    assert reading.appspec.hooks["AfterInstall"][0].runas is None
    assert reading.warning.remedy == "Did you mean 'runas'?"
