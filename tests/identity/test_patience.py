import threading

import pytest

from agent.identity.errors import CredentialsError, IdentityError, MetadataError
from agent.identity.identity import find_identity
from agent.identity.metadata import InstanceMetadata
from agent.identity.patience import until_found
from metadata_server import TOKEN_PATH


def attempts(*outcomes):
    left = list(outcomes)

    def attempt():
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return attempt


def test_a_host_that_boots_before_its_metadata_is_there_waits_and_goes_on(server, http):
    server.faults[TOKEN_PATH] = ("503 Not yet", b"")
    metadata = InstanceMetadata(http, endpoint=server.url)
    pauses, troubles = [], []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            server.faults.clear()

    found = until_found(lambda: find_identity(None, metadata, {}), sleep=sleep, on_trouble=troubles.append)
    assert found is not None
    assert found.kind == "ec2"
    assert pauses == [1, 2, 4]
    assert [error.message for error in troubles] == [
        f"Instance metadata at {server.url} answers the request for a token with status 503."
    ]


def test_pauses_grow_to_half_a_minute_and_no_further():
    pauses = []
    attempt = attempts(*[MetadataError("nothing")] * 9, "found")
    assert until_found(attempt, sleep=pauses.append, on_trouble=lambda error: None) == "found"
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30, 30]


def test_each_change_of_trouble_is_told_once():
    told = []
    first, second = MetadataError("no network"), CredentialsError("no role")
    attempt = attempts(first, MetadataError("no network"), second, CredentialsError("no role"), first, "found")
    until_found(attempt, sleep=lambda seconds: None, on_trouble=told.append)
    assert [str(error) for error in told] == ["no network", "no role", "no network"]


def test_what_only_a_person_can_mend_is_raised_at_once():
    with pytest.raises(IdentityError, match="wrong"):
        until_found(attempts(IdentityError("wrong", lasting=True)), sleep=pytest.fail, on_trouble=pytest.fail)


def test_a_stop_ends_the_wait():
    stopping = threading.Event()
    stopping.set()
    attempt = attempts(MetadataError("nothing"), "never asked for")
    assert until_found(attempt, sleep=stopping.wait, on_trouble=lambda error: None) is None
