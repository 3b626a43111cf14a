import logging
import time

import pytest

from agent.daemon.recurring import CAUSES_TOLD, Recurring, readable_duration

HOUR = 3600


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def recurring(clock):
    return Recurring(logging.getLogger("tests.recurring"), clock=clock)


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "tests.recurring")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_an_error_at_every_poll_does_not_fill_the_log(recurring, clock, lines):
    for _ in range(24 * HOUR):
        recurring.happened("dns", "The name cannot be found. Check the resolver.")
        clock.now += 1
    assert lines()[0] == ("ERROR", "The name cannot be found. Check the resolver.")
    assert 20 < len(lines()) < 35


def test_summaries_come_ever_more_rarely_and_keep_the_cause(recurring, clock, lines):
    told = []
    for second in range(5 * HOUR):
        before = len(lines())
        recurring.happened("dns", "No such name.")
        if len(lines()) > before:
            told.append(second)
        clock.now += 1
    assert told == [0, 60, 180, 420, 900, 1860, 3780, 3780 + HOUR, 3780 + 2 * HOUR, 3780 + 3 * HOUR]
    assert lines()[2] == ("ERROR", "Still so after 3 min, 181 times by now: No such name.")


def test_the_end_is_told_once_and_a_new_beginning_in_full_again(recurring, clock, lines):
    assert not recurring.over("dns", "The service answers")
    recurring.happened("dns", "No such name.", level=logging.WARNING)
    clock.now += 30
    recurring.happened("dns", "No such name.")
    clock.now += 90
    assert recurring.over("dns", "The service answers again")
    assert not recurring.over("dns", "The service answers again")
    recurring.happened("dns", "No such name.")
    assert lines() == [
        ("WARNING", "No such name."),
        ("INFO", "The service answers again, after 2 min in which the error happened 2 times."),
        ("ERROR", "No such name."),
    ]


def test_different_errors_do_not_hide_each_other(recurring, lines):
    recurring.happened("dns", "No such name.")
    recurring.happened("tls", "Bad certificate.")
    assert [text for _, text in lines()] == ["No such name.", "Bad certificate."]


def test_another_cause_of_the_same_problem_is_told_at_once_and_only_once(recurring, clock, lines):
    for _ in range(10):
        recurring.happened("poll", "No such name, request 4f1a.")
        clock.now += 1
    for number in range(10):
        recurring.happened("poll", f"Bad certificate, request {number}b7e.")
        recurring.happened("poll", f"No such name, request {number}c.")
        clock.now += 1
    assert [text for _, text in lines()] == ["No such name, request 4f1a.", "Bad certificate, request 0b7e."]


def test_causes_without_end_do_not_fill_the_log(recurring, lines):
    for number in range(1000):
        recurring.happened("poll", f"{'x' * number} went wrong.")
    assert len(lines()) == CAUSES_TOLD


def test_all_that_lasts_is_shown_the_oldest_first(recurring, clock):
    assert recurring.lasting() == []
    recurring.happened("b", "First.")
    clock.now += 10
    recurring.happened("a", "Second.")
    assert [(found.key, found.text) for found in recurring.lasting()] == [("b", "First."), ("a", "Second.")]
    assert all(abs(found.since - time.time()) < HOUR for found in recurring.lasting())
    recurring.over("b", "B is well")
    assert [found.key for found in recurring.lasting()] == ["a"]


def test_what_is_forgotten_is_logged_in_full_again(recurring, lines):
    for text in ("Line 3 is wrong.", "Line 7 is wrong."):
        recurring.forget("configuration")
        recurring.happened("configuration", text)
    assert [text for _, text in lines()] == ["Line 3 is wrong.", "Line 7 is wrong."]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (119.9, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h 0 min"), (200000, "2 d 7 h")],
)
def test_a_duration_is_short_to_read(seconds, text):
    assert readable_duration(seconds) == text
