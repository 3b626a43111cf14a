"""What monitoring hears: each way in which an agent may be unwell, and silence where it is well."""

from __future__ import annotations

from typing import Any

import pytest

from agent.daemon.health import Level, judge, level_of

NOW = 1_800_000_000.0

WELL: dict[str, Any] = {
    "running": True,
    "state": "running",
    "pid": 7,
    "started": NOW - 9000,
    "last_success": NOW - 4,
    "wait_between_runs": 30,
    "credentials": {"source": "the instance's role", "expires": NOW + 3600},
    "problems": [],
    "in_progress": [],
    "unreported": 0,
    "unreported_since": None,
    "out_of_service": [],
    "paused": None,
    "status_file": {"path": "/run/x", "written": NOW - 4, "unusable": []},
    "disk": {
        "path": "/opt",
        "total_bytes": 2**40,
        "free_bytes": 2**39,
        "inodes": 10**6,
        "free_inodes": 10**6,
        "read_only": False,
        "used_bytes": 1,
    },
    "other_agent": None,
    "not_seen": [],
}

OUT = {
    "group": "Shop",
    "state": "out",
    "places": ["alb"],
    "since": NOW - 60,
    "why": "taken out by hand: memory",
    "on_purpose": True,
    "by_hand": True,
    "deployment": None,
    "problem": None,
}


def disk(**changes: object) -> dict[str, Any]:
    return {"disk": {**WELL["disk"], **changes}}


def problem(age: float) -> dict[str, Any]:
    return {"problems": [{"since": NOW - age, "text": "No such host.", "key": "poll"}]}


def file(**changes: object) -> dict[str, Any]:
    return {"status_file": {**WELL["status_file"], **changes}}


def test_nothing_is_said_of_an_agent_that_is_well():
    assert judge(WELL, NOW) == []
    assert level_of([]) is Level.OK


@pytest.mark.parametrize(
    ("changes", "level", "key", "says"),
    [
        ({"running": False, "state": "stopped"}, Level.CRITICAL, "not-running", "not running"),
        ({"running": False, "state": "dead"}, Level.CRITICAL, "not-running", "without removing its pid file"),
        ({"state": "official"}, Level.WARNING, "official-agent", "Process 7 is the official agent"),
        ({"other_agent": 9}, Level.WARNING, "other-agent", "Process 9"),
        (problem(5), Level.WARNING, "poll", "For 5 s: No such host."),
        (problem(700), Level.CRITICAL, "poll", "For 11 min: No such host."),
        ({"state": "waiting", **problem(5)}, Level.CRITICAL, "poll", "No such host."),
        ({"last_success": NOW - 400}, Level.CRITICAL, "poll", "6 min ago"),
        ({"last_success": None}, Level.CRITICAL, "poll", "2 h 30 min ago"),
        (file(written=NOW - 500), Level.CRITICAL, "status-file", "/run/x is 8 min old"),
        (file(path=None, written=None, unusable=["/x is of PID 9"]), Level.WARNING, "status-file", "/x is of PID 9"),
        ({"credentials": {"source": "a", "expires": NOW - 60}}, Level.CRITICAL, "credentials", "expired 60 s ago"),
        ({"credentials": {"source": "a", "expires": NOW + 60}}, Level.WARNING, "credentials", "expire in 60 s"),
        ({"unreported": 2, "unreported_since": NOW - 300}, Level.WARNING, "outcomes", "2 outcomes"),
        ({"unreported": 1, "unreported_since": NOW - 3000}, Level.CRITICAL, "outcomes", "50 min"),
        (disk(read_only=True), Level.CRITICAL, "read-only", "/opt is read-only"),
        (disk(free_bytes=200 * 2**20), Level.WARNING, "disk", "200.0 MiB free"),
        (disk(free_bytes=2**20), Level.CRITICAL, "disk", "1.0 MiB free"),
        (disk(free_inodes=5000), Level.WARNING, "inodes", "5000 inodes"),
        (disk(free_inodes=3), Level.CRITICAL, "inodes", "3 inodes"),
        ({"out_of_service": [OUT]}, Level.WARNING, "traffic", "out of service for Shop (alb)"),
        ({"paused": {"since": NOW, "reason": "audit"}, "last_success": 1.0}, Level.WARNING, "paused", "audit"),
    ],
)
def test_what_is_wrong_is_found_with_its_level(changes: dict[str, Any], level: Level, key: str, says: str):
    (found,) = judge(WELL | changes, NOW)
    assert (found.level, found.key) == (level, key)
    assert says in found.text


@pytest.mark.parametrize(
    "changes",
    [
        {"unreported": 1, "unreported_since": NOW - 5},
        {"out_of_service": [OUT | {"deployment": "d-1"}], "in_progress": [{"deployment": "d-1"}]},
        {"credentials": {"source": "a key", "expires": None}},
        {"credentials": None},
        disk(inodes=0, free_inodes=0),
        {"disk": None},
        {"last_success": None, "started": NOW - 5},
    ],
)
def test_what_is_usual_is_no_finding(changes: dict[str, Any]):
    assert judge(WELL | changes, NOW) == []


def test_the_worst_comes_first():
    found = judge(WELL | problem(5) | disk(read_only=True), NOW)
    assert [finding.level for finding in found] == [Level.CRITICAL, Level.WARNING]
