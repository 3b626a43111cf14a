"""Numbers and names stay what they are, and each check is tried on a host that is well and on a broken one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.doctor.finding import Check
from agent.doctor.table import CHECKS

PROJECT = Path(__file__).resolve().parents[2]


def test_the_numbers_count_from_one_and_no_name_is_given_twice() -> None:
    assert [check.number for check in CHECKS] == list(range(1, len(CHECKS) + 1))
    assert len({check.name for check in CHECKS}) == len(CHECKS) >= 24


def test_the_document_has_a_row_for_each_check_as_the_table_says() -> None:
    rows = re.findall(
        r"^\| (\d+) \| `([a-z0-9-]+)` \| (.*?) \| (.*?) \|$", (PROJECT / "docs/doctor.md").read_text(), re.M
    )
    assert rows == [(str(check.number), check.name, check.examines, check.remedy) for check in CHECKS]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_is_tried_on_a_host_that_is_well_and_on_a_broken_one(check: Check) -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*_checks.py"))
    within = rf'examined_within\([^()]*"{check.name}"'
    assert re.search(rf'(passes|expect)\(\s*"{check.name}"|{within}', tests), f"no test sees {check.name} pass"
    assert re.search(rf'(fails|warns|expect)\(\s*"{check.name}"|{within}', tests), f"no test sees {check.name} complain"
