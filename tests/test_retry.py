"""What is tried again, after which delays, how often and for how long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from agent.bundle.fetch import TransientError
from agent.errors import AgentError, BundleError
from agent.identity.errors import CredentialsError, MetadataError, OnPremisesError
from agent.network.errors import NetworkError, NetworkReason
from agent.retry import Clock, Retries, RetryPolicy, growing
from agent.service.errors import ProtocolError, ServiceError, ServiceErrorKind
from agent.traffic.errors import TrafficError

PASSING = [
    *(NetworkError("x", reason=reason) for reason in NetworkReason if reason.value not in ("tls", "too-large")),
    ServiceError("x", kind=ServiceErrorKind.SERVER),
    ServiceError("x", kind=ServiceErrorKind.THROTTLED),
    MetadataError("x"),
    CredentialsError("x"),
    TrafficError("x", passing=True),
    TransientError("x"),
]
LASTING = [
    NetworkError("x", reason=NetworkReason.TLS),
    NetworkError("x", reason=NetworkReason.TOO_LARGE),
    *(ServiceError("x", kind=ServiceErrorKind(kind)) for kind in ("credentials", "clock", "client", "protocol")),
    ProtocolError("x"),
    CredentialsError("x", passing=False),
    OnPremisesError([]),
    TrafficError("x"),
    BundleError("x"),
    OSError("x"),
]


class Attempts:
    """Something that fails so many times, in a time that only passes while it is slept."""

    def __init__(self, *errors: Exception, chance: float = 0.0) -> None:
        self.errors: Iterator[Exception] = iter(errors)
        self.count = 0
        self.delays: list[float] = []
        self.clock = Clock(self.delays.append, lambda: sum(self.delays), lambda: chance)

    def __call__(self) -> str:
        self.count += 1
        for error in self.errors:
            raise error
        return "result"

    def run(self, policy: RetryPolicy) -> str:
        return Retries(policy, "Install", self.clock).run(self)


THREE = RetryPolicy((0.3, 0.6, 1.2), attempts=4)


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_an_error_that_passes_is_not_noticed(error: Exception) -> None:
    attempts = Attempts(error, error, error)
    assert attempts.run(THREE) == "result"
    assert attempts.delays == [0.3, 0.6, 1.2]


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_an_error_that_stays_is_reported_at_once(error: Exception) -> None:
    attempts = Attempts(error)
    with pytest.raises(type(error)):
        attempts.run(THREE)
    assert (attempts.count, attempts.delays) == (1, [])


def test_after_the_last_attempt_its_error_is_reported() -> None:
    errors = [TransientError(str(number)) for number in range(5)]
    attempts = Attempts(*errors)
    with pytest.raises(TransientError) as caught:
        attempts.run(THREE)
    assert caught.value is errors[3]
    assert attempts.count == 4


def test_no_attempt_begins_after_the_limit() -> None:
    attempts = Attempts(*[TransientError("down")] * 99)
    with pytest.raises(TransientError):
        attempts.run(RetryPolicy((1.0, 2.0, 4.0), limit=10.0))
    assert attempts.delays == [1, 2, 4]


def test_an_outage_within_the_limit_is_waited_out_however_often_it_fails() -> None:
    attempts = Attempts(*[TransientError("down")] * 300)
    assert attempts.run(RetryPolicy(growing(0.3, 10.0), limit=3600.0)) == "result"
    assert max(attempts.delays) == 10


def test_hosts_that_failed_together_do_not_come_back_together() -> None:
    first, second = (Attempts(TransientError("down"), chance=chance) for chance in (0.4, 1.0))
    first.run(THREE)
    second.run(THREE)
    assert first.delays == pytest.approx([0.3 * 1.1])
    assert second.delays == pytest.approx([0.3 * 1.25])


def test_what_has_made_headway_begins_with_short_delays_again() -> None:
    attempts = Attempts()
    retries = Retries(THREE, clock=attempts.clock)
    for _ in range(5):
        retries.failed(TransientError("broken off"))
        retries.succeeded()
    assert attempts.delays == [0.3] * 5


def test_one_limit_holds_for_several_calls() -> None:
    attempts = Attempts()
    retries = Retries(RetryPolicy((4.0,), limit=10.0), clock=attempts.clock)
    calls: list[Callable[[], str]] = [Attempts(TransientError("down")), Attempts(TransientError("down"))]
    assert [retries.run(call) for call in calls] == ["result", "result"]
    with pytest.raises(TransientError):
        retries.run(Attempts(TransientError("down")))


def test_an_outage_is_one_line_of_the_log_for_each_thing_that_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent")
    errors = [TransientError(text) for text in ["no route.", "no route.", "no route.", "refused.", "refused."]]
    Attempts(*errors).run(RetryPolicy((1.0,)))
    assert caplog.messages == [
        "Install: no route. Another attempt follows in 1.0 s",
        "Install: refused. Another attempt follows in 1.0 s",
    ]


def test_delays_grow_to_the_longest_and_no_further() -> None:
    assert growing(1.0, 30.0) == (1, 2, 4, 8, 16, 30)
    policy = RetryPolicy(growing(1.0, 30.0))
    assert policy.delay(10**9, lambda: 0.0) == 30


def test_an_error_of_ours_does_not_pass_unless_its_kind_says_so() -> None:
    assert not AgentError("x").passing
