"""The one line that systemd shows: what the agent does, the problem that lasts, how the last command ended."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agent.daemon.activity import LONGEST_STATUS, status_line

AT = time.mktime((2026, 12, 1, 10, 2, 3, 0, 0, -1))
ROW = {"deployment": "d-1", "group": "g-1", "group_name": "Shop", "event": "AfterInstall", "since": AT}
LAST = {"status": "Failed", "deployment": "d-0", "event": "Install", "ended": AT, "closed_as": ""}
PROBLEM = {"since": AT, "text": "No such host.", "key": "poll"}
STAMP = "2026-12-01 10:02:03"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"state": "starting"}, "Finding out who this host is"),
        ({"state": "polling"}, "Polling"),
        (
            {"state": "polling", "in_hand": [ROW]},
            f"AfterInstall of deployment d-1 (Shop) runs since {STAMP}",
        ),
        (
            {"state": "polling", "last_outcome": LAST},
            f"Polling; last outcome: Install of deployment d-0 failed at {STAMP}",
        ),
        (
            {"state": "polling", "last_outcome": LAST | {"status": "Closed", "closed_as": "Succeeded"}},
            f"Polling; last outcome: Install of deployment d-0 succeeded at {STAMP}",
        ),
        ({"state": "polling", "problem": PROBLEM}, f"Problem since {STAMP}: No such host"),
        (
            {"state": "polling", "problem": PROBLEM, "in_hand": [ROW], "last_outcome": LAST},
            f"AfterInstall of deployment d-1 (Shop) runs since {STAMP}; Problem since {STAMP}: No such host;"
            f" last outcome: Install of deployment d-0 failed at {STAMP}",
        ),
        ({"state": "polling", "paused": {"since": AT, "reason": "audit"}}, f"Paused since {STAMP}: audit"),
    ],
)
def test_the_line_says_what_is_true(fields: dict[str, Any], line: str):
    assert status_line(fields) == line


def test_the_line_fits_into_the_message_to_systemd():
    assert len(status_line({"problem": PROBLEM | {"text": "x" * 5000}})) == LONGEST_STATUS
