"""The pauses after failed polls."""

from __future__ import annotations

import pytest

from agent.service.backoff import poll_pause


def test_a_host_waits_as_long_as_the_official_agent_waits():
    pauses = [poll_pause(failures, elapsed=0, random=lambda: 0.0) for failures in range(1, 13)]
    assert pauses == [10, 13, 17, 21, 27, 34, 44, 56, 71, 90, 90, 90]


def test_hosts_that_failed_together_do_not_come_back_together():
    pauses = {poll_pause(3, elapsed=0, random=lambda part=part: part) for part in (0.0, 0.4, 0.8, 1.0)}
    assert len(pauses) == 4
    assert max(pauses) == 17 * 1.25


@pytest.mark.parametrize(("elapsed", "pause"), [(4, 6), (80, 0)])
def test_what_the_poll_took_counts(elapsed, pause):
    assert poll_pause(1, elapsed=elapsed, random=lambda: 0.0) == pause


@pytest.mark.parametrize("failures", [0, -1])
def test_nobody_waits_after_a_success(failures):
    assert poll_pause(failures, elapsed=0, random=lambda: 1.0) == 0


def test_a_host_that_fails_for_months_still_comes_back():
    assert poll_pause(10**9, elapsed=0, random=lambda: 1.0) == 90 * 1.25
