"""A Python or a library that this agent is not made for is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.doctor.finding import Result
from agent.doctor.version_checks import fits, requirements
from examined_host import ExaminedHost, examined_within

METADATA = """\
Metadata-Version: 2.1
Name: codedeploy-host-agent
Version: 9.9
Requires-Python: >=3.99
Requires-Dist: psutil>=999
Requires-Dist: missing-library>=1
Requires-Dist: PyYAML>=6.0.1
"""


def test_a_library_out_of_its_range_is_found(host: ExaminedHost, tmp_path: Path) -> None:
    host.passes("python", "is within")
    host.passes("libraries", "urllib3 ")
    information = tmp_path / "site" / "codedeploy_host_agent-9.9.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(METADATA)
    environment = {"PYTHONPATH": str(information.parent)}
    found = examined_within("", tmp_path / "host", "python", "libraries", unshare=(), environment=environment)
    assert found["python"].result == found["libraries"].result == Result.FAIL
    assert "is not within >=3.99" in found["python"].text
    assert "--python" in found["python"].remedy
    assert "psutil" in found["libraries"].text
    assert "is not within >=999; missing-library is missing." in found["libraries"].text
    assert "codedeploy-agent install" in found["libraries"].remedy


@pytest.mark.parametrize(
    ("version", "bounds", "does"),
    [
        ("2.2.2", ">=2.2.2", True),
        ("2.2.10", ">=2.2.2", True),
        ("2.2.1", ">=2.2.2", False),
        ("3.0", ">=2.2,<3", False),
        ("3", "==3.0.0", True),
        ("3.1", "!=3.1", False),
        ("3.4.9", "~=3.4.2", True),
        ("3.5", "~=3.4.2", False),
        ("6.0.1rc1", ">=6.0.1", True),
        ("1", "", True),
    ],
)
def test_a_version_is_compared_by_its_numbers(version: str, bounds: str, does: bool) -> None:
    assert fits(version, bounds) is does


def test_only_what_is_always_needed_is_asked_for() -> None:
    lines = ["boto3>=1.34", "urllib3 (>=2.2.2)", 'moto[server]>=5.0; extra == "sandbox"']
    assert requirements(lines) == [("boto3", ">=1.34"), ("urllib3", ">=2.2.2")]
