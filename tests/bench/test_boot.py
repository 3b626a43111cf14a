"""The bench of a host's boot works, so that it does not rot."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from host_lab import NEEDED

BENCH = os.path.join(os.path.dirname(__file__), "boot.py")


def test_where_hosts_cannot_be_booted_the_bench_says_so_and_goes_on() -> None:
    for more, status in ((["--where-possible"], 0), ([], 1)):
        done = subprocess.run(
            [sys.executable, BENCH, *more],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PATH": "/nowhere"},
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert done.stdout.startswith("boot to first poll: NOT MEASURED, as booting hosts needs ")
        assert "systemd-nspawn" in done.stdout


@pytest.mark.soak_only
@pytest.mark.parametrize("images", [pytest.param("debian12", marks=NEEDED)])
def test_the_bench_of_a_boot_gives_both_figures(images: str) -> None:
    done = subprocess.run(
        [sys.executable, BENCH, "--images", images, "--runs", "1"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.endswith((" met", " MISSED"))
