from __future__ import annotations

import json
import os

import pytest

from agent.traffic.errors import TrafficError
from agent.traffic.policy import Policy
from agent.traffic.provider import Member, Step
from agent.traffic.record import Phase, Records, TrafficRecord

POLICY = Policy([{"type": "elbv2"}], minimum_healthy=2)
MEMBER = Member({"type": "elbv2"}, "target group web", {"target": {"Id": "i-1", "Port": 80}}, "healthy", Step.TAKEN)


# The file's suffix, and the phase in it.
FINALIZED_BEFORE = ".settled", "settled", "finalized"  # as earlier versions wrote it
SINCE_BEFORE = [(".json", "out", "out"), FINALIZED_BEFORE]


@pytest.fixture
def records(tmp_path):
    return Records(str(tmp_path))


def test_everything_that_is_needed_to_put_a_host_back_is_read_again(records):
    record = TrafficRecord("Web", POLICY, Phase.OUT, members=(MEMBER,), deployment_id="d-1", since=12.5, kept="why")
    records.write(record)
    assert records.read("Web") == record
    assert records.all() == ([record], [])


def test_a_finalized_record_leaves_nothing_to_look_after(records, tmp_path):
    record = TrafficRecord("Web", POLICY, Phase.OUT, members=(MEMBER,))
    records.write(record)
    records.write(record._replace(phase=Phase.FINALIZED, seconds_out=3.0))
    assert records.all() == ([], [])
    assert records.read("Web").seconds_out == 3.0
    records.write(record)
    assert records.read("Web").phase is Phase.OUT


@pytest.mark.parametrize(("suffix", "phase", "read_as"), SINCE_BEFORE)
def test_a_host_that_an_earlier_version_took_out_is_not_forgotten(records, tmp_path, suffix, phase, read_as):
    record = TrafficRecord("Web", POLICY, Phase.OUT, members=(MEMBER,), seconds_out=3.0)
    records.write(record)
    (path,) = tmp_path.iterdir()
    fields = json.loads(path.read_text())
    fields["trouble"] = fields.pop("problem") or "it did not answer"  # as earlier versions wrote it
    path.with_suffix(suffix).write_text(json.dumps({**fields, "phase": phase}))
    if suffix != path.suffix:
        path.unlink()
    read = records.read("Web")
    assert (read.phase.value, read.problem, read.members) == (read_as, "it did not answer", (MEMBER,))


def test_names_that_look_alike_have_records_of_their_own(records, tmp_path):
    for name in ("a/b", "a_b", "../a", "ä", "x" * 200):
        records.write(TrafficRecord(name, POLICY, Phase.OUT))
    assert sorted(record.group_name for record in records.all()[0]) == sorted(["a/b", "a_b", "../a", "ä", "x" * 200])
    assert all(os.sep not in name for name in os.listdir(tmp_path))


def test_nobody_else_may_read_it(records, tmp_path):
    records.write(TrafficRecord("Web", POLICY, Phase.OUT))
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"1", b'"text"', b'{"version": 2}', b"\xff", b'{"version": 1, "members": [1]}']
)
def test_a_record_that_cannot_be_understood_is_never_taken_for_none(records, tmp_path, data):
    records.write(TrafficRecord("Web", POLICY, Phase.OUT))
    (path,) = tmp_path.iterdir()
    path.write_bytes(data)
    with pytest.raises(TrafficError, match="cannot be read"):
        records.read("Web")
    records.write(TrafficRecord("Other", POLICY, Phase.OUT))
    found, errors = records.all()
    assert [record.group_name for record in found] == ["Other"]
    assert [str(path) in error.message for error in errors] == [True]


def test_a_phase_that_nobody_knows_is_refused(records, tmp_path):
    records.write(TrafficRecord("Web", POLICY, Phase.OUT))
    (path,) = tmp_path.iterdir()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"phase": "floating"}))
    with pytest.raises(TrafficError):
        records.read("Web")
