"""When the service is polled."""

from __future__ import annotations

import itertools

import pytest

from agent.daemon.schedule import AFTER_EVENT, Poll, Schedule
from agent.retry import Clock


def schedule(*, chance: float = 0.0, now: float = 0.0, wait: float = 30.0) -> Schedule:
    return Schedule(wait_between_runs=wait, clock=Clock(pytest.fail, lambda: now, lambda: chance))


def pauses(found: Schedule, poll: Poll, count: int, *, elapsed: float = 0.0) -> list[float]:
    return [found.pause_after(poll, elapsed=elapsed) for _ in range(count)]


def test_a_command_is_followed_by_a_poll_at_once() -> None:
    assert schedule(now=7).pause_after(Poll.NEW, elapsed=1) == 0


def test_an_idle_service_is_asked_every_wait_between_runs() -> None:
    now = 1000.0
    found = Schedule(wait_between_runs=30, clock=Clock(pytest.fail, lambda: now, lambda: 0.25))
    polls = []
    for _ in range(5):
        now += found.pause_after(Poll.NOTHING, elapsed=0.5)
        polls.append(now)
        now += 0.5
    assert [later - earlier for earlier, later in itertools.pairwise(polls)] == [30] * 4


def test_the_event_that_follows_is_asked_for_a_few_times_and_then_no_more_than_before() -> None:
    found = schedule()
    found.event_ended()
    assert pauses(found, Poll.NOTHING, len(AFTER_EVENT) + 2) == [*AFTER_EVENT, 30, 30]
    assert all(AFTER_EVENT), "never without a pause"
    assert sum(AFTER_EVENT) < 2


def test_hosts_that_were_started_together_do_not_poll_together() -> None:
    moments = [found.until_own_moment() for found in (schedule(chance=part / 10) for part in range(10))]
    assert sorted(moments) == pytest.approx([15 + 3 * number for number in range(10)])


@pytest.mark.parametrize("now", [0.0, 14.9, 15.1, 29.9, 31.0])
def test_a_host_keeps_its_own_moments_whatever_comes_between(now: float) -> None:
    pause = schedule(chance=0.5, now=now).until_own_moment()
    assert (now + pause) % 30 == pytest.approx(15)
    assert 15 <= pause < 45


def test_a_host_that_is_to_poll_without_a_pause_does() -> None:
    assert schedule(wait=0).pause_after(Poll.NOTHING, elapsed=1) == 0


def test_a_service_that_repeats_itself_is_not_asked_without_a_pause() -> None:
    assert pauses(schedule(), Poll.KNOWN, 3) == [0, 30, 30]


def test_a_new_command_in_between_counts_afresh() -> None:
    found = schedule()
    found.pause_after(Poll.KNOWN, elapsed=1)
    found.pause_after(Poll.NEW, elapsed=1)
    assert found.pause_after(Poll.KNOWN, elapsed=1) == 0


def test_a_host_that_has_just_booted_does_not_wait_long_for_its_identity() -> None:
    assert pauses(schedule(), Poll.UNKNOWN, 8) == [1, 2, 4, 8, 16, 30, 30, 30]


def test_one_error_that_passes_costs_a_moment_and_a_lasting_outage_as_much_as_with_the_official_agent() -> None:
    found = schedule()
    backoff = [10, 13, 17, 21, 27, 34, 44, 56, 71, 90, 90, 90]
    assert pauses(found, Poll.PASSING, 15) == [0.3, 0.6, 1.2, *backoff]
    found.pause_after(Poll.NOTHING, elapsed=0)
    assert not found.is_failing
    assert found.pause_after(Poll.PASSING, elapsed=0) == 0.3


def test_a_refusal_is_not_repeated_quickly() -> None:
    found = schedule()
    assert pauses(found, Poll.FAILED, 2) == [10, 13]
    assert not found.is_repeating


def test_what_a_poll_took_counts_unless_it_is_repeated_quickly() -> None:
    found = schedule()
    assert pauses(found, Poll.PASSING, 5, elapsed=4) == [0.3, 0.6, 1.2, 6, 9]
    assert found.pause_after(Poll.FAILED, elapsed=80) == 0


def test_hosts_that_failed_together_do_not_come_back_together() -> None:
    assert {schedule(chance=part).pause_after(Poll.FAILED, elapsed=0) for part in (0.0, 0.4, 1.0)} == {10, 11, 12.5}
