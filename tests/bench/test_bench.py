from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = os.path.join(os.path.dirname(__file__), "bench.py")
PROGRAMS = os.path.dirname(sys.executable)


@pytest.mark.needs_tool("tar", "zip", "unzip")
@pytest.mark.long  # a whole bench
def test_the_bench_measures_every_item_beside_its_floor(tmp_path: Path) -> None:
    done = bench(tmp_path, "--runs", "1", "--scale", "0.002", "--very-many", "tgz,zip")
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(done)
    assert [line[:3] for line in found] == ["(a)", *["(b)"] * 3, *["(c)"] * 4, "(d)", *["(e)"] * 6, *["(f)"] * 2]
    for line in found:
        assert "MiB" in line
        assert line.startswith("(f)") == (" -       the floor" in line)  # it has no target
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs_tool("tar", "zip", "unzip")
@pytest.mark.long  # a whole bench
def test_the_bench_measures_every_item_beside_another_version(tmp_path: Path) -> None:
    done = bench(tmp_path, "--runs", "1", "--scale", "0.002", "--against", PROGRAMS)
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(done)
    assert [line[:3] for line in found] == ["(a)", *["(b)"] * 3, "(c)", "(d)", *["(e)"] * 6, *["(f)"] * 2]
    for line in found:
        assert "   1.05  " in line
        assert line.endswith("the other version")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs_tool("tar")
def test_the_bench_runs_both_versions_in_turns_and_in_changing_order(tmp_path: Path) -> None:
    other, runs = tmp_path / "other", tmp_path / "runs"
    other.mkdir()
    for name, first in (("python", ""), ("codedeploy-local", f'basename "$PWD" >> {runs}\n')):
        program = other / name
        program.write_text(f'#!/bin/sh\n{first}exec {PROGRAMS}/{name} "$@"\n')
        program.chmod(0o755)
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ("--runs", "3", "--scale", "0.001", "--items", "d", "--against", os.path.relpath(other))
    done = bench(disk, *options, "--target", "0", "--check")
    assert done.returncode == 1, done.stdout + done.stderr
    (row,) = rows(done)
    assert " MISSED " in row
    assert done.stdout.splitlines()[-1] == "1 of 1 targets were missed"
    # The first is where the revision is made; then ours and the other, the other and ours, ours and the other.
    assert runs.read_text().split() == ["run-0003", "run-0004", "run-0007"]


@pytest.mark.needs_tool("tar")
def test_the_bench_does_not_say_that_targets_were_met_where_there_are_none(tmp_path: Path) -> None:
    done = bench(tmp_path, "--runs", "1", "--scale", "0.001", "--items", "f")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "nothing that was measured has a target"
    assert " met " not in done.stdout


def test_the_bench_refuses_to_compare_with_a_directory_without_our_programs(tmp_path: Path) -> None:
    done = bench(tmp_path, "--against", str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path} has no program codedeploy-local." in done.stderr


def bench(disk: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCH, "--places", "disk", "--disk", str(disk), *options]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def rows(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stdout.splitlines() if line.startswith("(")]
