"""Style and types, as `make lint` checks them; here they are tests, so that one run tells everything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "--output-format=concise", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=["rules", "format", "types"],
)
def test_the_code_is_clean(command: list[str]) -> None:
    program = os.path.join(os.path.dirname(sys.executable), command[0])
    done = subprocess.run([program, *command[1:]], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, "\n".join((done.stdout + done.stderr).splitlines()[:40])
