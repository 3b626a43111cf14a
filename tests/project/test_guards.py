"""The guards of tests/conftest.py: nothing goes missing where CI=true, and a sample is the same every time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"

# A capability that is inherited would come back with the exec.
WITHOUT_SYS_ADMIN = ("setpriv", "--inh-caps=-sys_admin", "--bounding-set=-sys_admin")

GUARDED = """
import pytest

@pytest.mark.needs_tool("no-such-program-anywhere")
def test_guarded():
    pass
"""

RIGHTS = """
import pytest

@pytest.mark.needs("root", "mount")
def test_of_a_mount():
    pass

@pytest.mark.needs("mount")
@pytest.mark.needs_tool("no-such-program-anywhere")
def test_of_a_mount_and_a_program():
    pass

@pytest.mark.needs("root", "users")
def test_of_a_user():
    pass
"""

UNKNOWN = """
import pytest

@pytest.mark.needs("flying")
def test_of_a_bird():
    pass
"""

EVERY_WANT = """
import guards

for want in guards.WANTS:
    guards.lacking(want)
"""

SAMPLED = """
def test_sampled(sample):
    chosen = sample(range(1000), 40)
    print("chosen:", len(chosen), chosen[:1], chosen[-1:], chosen)
"""

PARTS = """
import pytest

@pytest.mark.soak_only
def test_very_long():
    pass

@pytest.mark.long
def test_long():
    pass

def test_walk(sample):
    print("visited:", len(sample(range(1000), 40)))

def test_short():
    pass
"""


@pytest.fixture
def run(tmp_path: Path):
    """Run a test file under our conftest; gives the output."""
    for needed in (CONFTEST, CONFTEST.parent / "helpers" / "guards.py"):
        shutil.copy(needed, tmp_path)

    def run_file(text: str, *options: str, ci: str = "", within: Sequence[str] = ()) -> str:
        (tmp_path / "test_it.py").write_text(text)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "SAMPLE"))}
        command = [*within, sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *options]
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


@pytest.mark.needs("root", "users")
@pytest.mark.needs_tool("setpriv")
@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_root_in_a_plain_container_is_told_what_was_skipped_for_want_of_which_right(run, options) -> None:
    output = run(RIGHTS, *options, within=WITHOUT_SYS_ADMIN)
    assert "1 passed, 2 skipped" in output
    assert "needs mounts of one's own: unshare: " in output
    assert "skipped for want of rights or programs: 2 (" in output
    assert "     2  mounts of one's own\n     1  the program 'no-such-program-anywhere'\n" in output
    assert "adds these 2\n" in output


@pytest.mark.needs("root")
@pytest.mark.needs_tool("setpriv")
def test_a_right_that_is_missing_fails_where_ci_is_true(run) -> None:
    assert "2 errors" in run(RIGHTS, ci="true", within=WITHOUT_SYS_ADMIN)


def test_a_want_that_is_not_known_fails_everywhere(run) -> None:
    assert "1 error" in run(UNKNOWN)


def test_a_run_that_skips_nothing_says_nothing_of_it(run) -> None:
    assert "skipped for" not in run(PARTS)


def test_finding_out_what_a_machine_grants_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", EVERY_WANT]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(CONFTEST.parent / "helpers")}
    subprocess.run(command, env=environment, check=True)
    assert os.listdir(tmp_path) == []
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_a_sample_is_small_repeatable_and_has_both_ends(run) -> None:
    first, second, other = run(SAMPLED), run(SAMPLED), run(SAMPLED, "--sample-seed=2")
    assert "chosen: 10 [0] [999]" in first
    assert chosen(first) == chosen(second) != chosen(other)


def test_each_test_belongs_to_a_run_and_a_soak_has_them_all(run) -> None:
    essential, hosts, soak = run(PARTS), run(PARTS, "--part=hosts"), run(PARTS, "--soak")
    for output, *expected in (
        (essential, "2 passed, 2 deselected", "PASSED test_it.py::test_short", "visited: 10\n"),
        (hosts, "2 passed, 2 deselected", "PASSED test_it.py::test_long", "visited: 40\n"),
        (soak, "4 passed", "visited: 1000\n"),
    ):
        assert [text for text in expected if text not in output] == []


def chosen(output: str) -> str:
    return next(line for line in output.splitlines() if line.startswith("chosen:"))
