from __future__ import annotations

import os
import subprocess
import sys

import pytest

BENCH = os.path.join(os.path.dirname(__file__), "daemon.py")


@pytest.mark.soak_only
def test_the_bench_of_the_daemon_gives_every_figure() -> None:
    done = subprocess.run(
        [sys.executable, BENCH, "--runs", "1", "--seconds", "2"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    for line in lines:
        assert " at most " in line
        assert line.endswith((" met", " MISSED"))
