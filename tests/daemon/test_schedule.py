"""When the service is polled."""

from __future__ import annotations

from agent.daemon.schedule import Poll, Schedule


def schedule() -> Schedule:
    return Schedule(wait_between_runs=30, random=lambda: 0.0)


def test_a_command_is_followed_by_a_poll_at_once() -> None:
    assert schedule().pause_after(Poll.NEW, elapsed=1) == 0


def test_an_idle_service_is_asked_every_wait_between_runs() -> None:
    assert schedule().pause_after(Poll.NOTHING, elapsed=1) == 30


def test_a_service_that_repeats_itself_is_not_asked_without_a_pause() -> None:
    found = schedule()
    assert [found.pause_after(Poll.KNOWN, elapsed=1) for _ in range(3)] == [0, 30, 30]


def test_a_new_command_in_between_counts_afresh() -> None:
    found = schedule()
    found.pause_after(Poll.KNOWN, elapsed=1)
    found.pause_after(Poll.NEW, elapsed=1)
    assert found.pause_after(Poll.KNOWN, elapsed=1) == 0


def test_a_host_that_has_just_booted_does_not_wait_long_for_its_identity() -> None:
    found = schedule()
    pauses = [found.pause_after(Poll.UNKNOWN, elapsed=0) for _ in range(12)]
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses == sorted(pauses)
    assert pauses[-1] <= 120


def test_pauses_grow_while_the_service_is_in_trouble_and_start_afresh_when_it_is_not() -> None:
    found = schedule()
    pauses = [found.pause_after(Poll.FAILED, elapsed=0) for _ in range(12)]
    assert pauses == sorted(pauses)
    assert pauses[0] < 15
    assert 80 < pauses[-1] <= 120
    found.pause_after(Poll.NOTHING, elapsed=0)
    assert found.failures == 0
    assert found.pause_after(Poll.FAILED, elapsed=0) == pauses[0]
