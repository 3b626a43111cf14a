"""How many hosts change at once, and when a deployment has succeeded."""

from __future__ import annotations

import pytest

from agent.sandbox.engine.health import PREDEFINED, RolloutProgress, check, has_succeeded, is_lost, may_start, required
from agent.sandbox.errors import RefusedError

ALL = PREDEFINED["CodeDeployDefault.AllAtOnce"]
HALF = PREDEFINED["CodeDeployDefault.HalfAtATime"]
ONE = PREDEFINED["CodeDeployDefault.OneAtATime"]


def fresh(hosts: int) -> RolloutProgress:
    return RolloutProgress(pending=hosts, running=0, succeeded=0, failed=0)


@pytest.mark.parametrize(
    ("minimum", "hosts", "at_once"),
    [
        (ALL, 5, 5), (HALF, 4, 2), (HALF, 5, 2), (ONE, 5, 1), (ONE, 1, 1), (HALF, 1, 1),
        ({"type": "HOST_COUNT", "value": 2}, 5, 3), ({"type": "FLEET_PERCENT", "value": 75}, 8, 2),
    ],
)  # fmt: skip
def test_as_many_hosts_begin_as_may_be_out(minimum: dict[str, object], hosts: int, at_once: int) -> None:
    assert may_start(minimum, fresh(hosts)) == at_once


def test_one_at_a_time_forgives_the_last_host_only() -> None:
    assert is_lost(ONE, RolloutProgress(pending=2, running=0, succeeded=0, failed=1))
    assert has_succeeded(ONE, RolloutProgress(pending=0, running=0, succeeded=2, failed=1))
    assert not has_succeeded(ONE, RolloutProgress(pending=0, running=0, succeeded=1, failed=2))


def test_all_at_once_succeeds_with_one_host_and_fails_with_none() -> None:
    assert has_succeeded(ALL, RolloutProgress(pending=0, running=0, succeeded=1, failed=4))
    assert not has_succeeded(ALL, RolloutProgress(pending=0, running=0, succeeded=0, failed=5))


def test_half_needs_half_of_the_hosts_rounded_up() -> None:
    assert required(HALF, 5) == 3
    assert not has_succeeded(HALF, RolloutProgress(pending=0, running=0, succeeded=2, failed=3))


def test_hosts_at_work_are_waited_for_before_a_deployment_is_lost() -> None:
    assert not is_lost(ONE, RolloutProgress(pending=1, running=1, succeeded=0, failed=1))


@pytest.mark.parametrize(
    "minimum",
    [{"type": "FLEET_PERCENT", "value": 100}, {"type": "HOST_COUNT", "value": -1}, {"type": "OTHER", "value": 1}, {}],
)
def test_a_minimum_that_means_nothing_is_refused(minimum: dict[str, object]) -> None:
    with pytest.raises(RefusedError):
        check(minimum)
