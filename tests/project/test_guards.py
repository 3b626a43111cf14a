"""The guards of tests/conftest.py: nothing goes missing where CI=true, and a sample is the same every time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"

GUARDED = """
import pytest

@pytest.mark.needs_tool("no-such-program-anywhere")
def test_guarded():
    pass
"""

SAMPLED = """
def test_sampled(sample):
    chosen = sample(range(1000), 5)
    print("chosen:", len(chosen), chosen[:1], chosen[-1:], chosen)
"""

LONG = """
import pytest

@pytest.mark.soak_only
def test_long():
    pass

def test_short():
    pass
"""


@pytest.fixture
def run(tmp_path: Path):
    """Run a test file under our conftest; gives the output."""
    for needed in (CONFTEST, CONFTEST.parent / "helpers" / "guards.py"):
        shutil.copy(needed, tmp_path)

    def run_file(text: str, *options: str, ci: str = "") -> str:
        (tmp_path / "test_it.py").write_text(text)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "SAMPLE"))}
        command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *options]
        done = subprocess.run(command, cwd=tmp_path, env={**environment, "CI": ci}, capture_output=True, text=True)
        return done.stdout

    return run_file


def test_a_test_that_lacks_a_program_is_skipped_with_its_reason(run) -> None:
    output = run(GUARDED)
    assert "1 skipped" in output
    assert "needs the program 'no-such-program-anywhere'" in output


def test_the_same_test_fails_where_ci_is_true(run) -> None:
    output = run(GUARDED, ci="true")
    assert "1 failed" in output or "1 error" in output
    assert "needs the program 'no-such-program-anywhere'" in output


def test_a_sample_is_small_repeatable_and_has_both_ends(run) -> None:
    first, second, other = run(SAMPLED), run(SAMPLED), run(SAMPLED, "--sample-seed=2")
    assert "chosen: 5 [0] [999]" in first
    assert chosen(first) == chosen(second) != chosen(other)


def test_a_soak_walks_everything(run) -> None:
    assert "chosen: 1000 [0] [999]" in run(SAMPLED, "--soak")
    assert "1 passed, 1 deselected" in run(LONG)
    assert "2 passed" in run(LONG, "--soak")


def chosen(output: str) -> str:
    return next(line for line in output.splitlines() if line.startswith("chosen:"))
