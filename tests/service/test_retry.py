"""What is sent again, how often, and what is not."""

from __future__ import annotations

import pytest

from agent.network.errors import NetworkError, NetworkReason
from agent.service.errors import ProtocolError, ServiceError, ServiceErrorKind
from agent.service.retry import with_retries

PASSING = [
    *(NetworkError("x", reason=reason) for reason in NetworkReason if reason.value in "dns connect timeout broken"),
    ServiceError("x", kind=ServiceErrorKind.SERVER),
]
LASTING = [
    *(NetworkError("x", reason=reason) for reason in NetworkReason if reason.value in "tls proxy too-large"),
    *(ServiceError("x", kind=kind) for kind in ServiceErrorKind if kind is not ServiceErrorKind.SERVER),
    ProtocolError("x"),
    OSError("x"),
]


class Call:
    def __init__(self, *errors):
        self.errors = list(errors)
        self.count = 0
        self.pauses = []

    def __call__(self):
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "result"

    def run(self, chance=0.0, **options):
        return with_retries(self, sleep=self.pauses.append, random=lambda: chance, **options)


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_a_fault_that_passes_is_not_noticed(error):
    call = Call(error, error, error)
    assert call.run() == "result"
    assert call.pauses == pytest.approx([0.3, 0.6, 1.2])


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_an_error_that_stays_is_reported_at_once(error):
    call = Call(error)
    with pytest.raises(type(error)):
        call.run()
    assert (call.count, call.pauses) == (1, [])


def test_after_four_attempts_the_last_error_is_reported():
    errors = [ServiceError(str(number), kind=ServiceErrorKind.SERVER) for number in range(5)]
    call = Call(*errors)
    with pytest.raises(ServiceError) as caught:
        call.run()
    assert caught.value is errors[3]
    assert (call.count, len(call.pauses)) == (4, 3)


def test_hosts_do_not_come_back_together():
    call = Call(PASSING[0])
    call.run(chance=1.0)
    assert call.pauses == pytest.approx([0.3 * 1.25])


def test_one_attempt_is_one_attempt():
    call = Call(PASSING[0])
    with pytest.raises(NetworkError):
        call.run(attempts=1)
    assert call.count == 1
