from __future__ import annotations

import os
import subprocess
import sys

BENCH = os.path.join(os.path.dirname(__file__), "commands.py")


def test_the_bench_of_the_commands_measures_each_of_them() -> None:
    done = subprocess.run([sys.executable, BENCH, "--runs", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    floor, *lines = done.stdout.splitlines()
    assert floor.endswith(" s of CPU")
    assert len(lines) == 5
    for line in lines:
        assert line.endswith((" met", " MISSED"))
