from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = os.path.join(os.path.dirname(__file__), "bench.py")


@pytest.mark.needs_tool("tar", "zip", "unzip")
@pytest.mark.long  # a whole bench
def test_the_bench_measures_every_item_beside_its_floor(tmp_path: Path) -> None:
    command = [sys.executable, BENCH, "--runs", "1", "--scale", "0.002", "--places", "disk", "--disk", str(tmp_path)]
    command += ["--very-many", "tgz,zip"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()[1:-1]
    assert [line[:3] for line in lines] == ["(a)", *["(b)"] * 3, *["(c)"] * 4, "(d)", *["(e)"] * 6]
    for line in lines:
        assert "MiB" in line
    assert list(tmp_path.iterdir()) == []
