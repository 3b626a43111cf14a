"""Every case gives the official agent's result, or the other one that docs/differences.md explains."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from case_box import Box, differences
from case_data import PARTS, Case, expected, load_cases

CASES = load_cases()
OWN_MOUNTS = pytest.mark.needs("mount")


def parameter(case: Case) -> object:
    private = any(step.get("private") for step in case.steps)
    return pytest.param(case, id=case.name, marks=[OWN_MOUNTS] if private else [])


@pytest.mark.needs("root")
@pytest.mark.needs_tool("bash", "tar", "zip")
@pytest.mark.parametrize("case", [parameter(case) for case in CASES])
def test_a_revision_ends_as_with_the_official_agent(
    case: Case, tmp_path: object, program: Callable[[str], str], record_property: Callable[[str, object], None]
) -> None:
    box = Box(str(tmp_path / "box"), program=program("codedeploy-local"), case=case)
    results = box.run()

    report = []
    deploys = [step for step in case.steps if "deploy" in step]
    for number, (step, result) in enumerate(zip(deploys, results, strict=True), 1):
        desired = expected(step, "ours")
        found = differences(desired, result, [part for part in PARTS if part in desired or part not in ("archive",)])
        for line in [*found, *result.problems]:
            report.append(f"deployment {number}: {line}")
        if found or result.problems:
            report.append(f"  its output: {result.stdout}{result.stderr}")
    assert not report, "\n".join([f"{case.name}: {case.about}", *report])
    record_property("case", "differs on purpose" if case.differs else "same")


def test_a_result_of_our_own_is_another_one_than_the_official() -> None:
    for case in CASES:
        if case.differs:
            deploys = [step for step in case.steps if "deploy" in step]
            assert any(expected(step, "ours") != expected(step, "expect") for step in deploys), case.name


def test_case_names_are_told_apart() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) > 200
