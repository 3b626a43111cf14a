from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BENCH = os.path.join(os.path.dirname(__file__), "download.py")


def test_the_bench_measures_a_download_beside_a_plain_one(tmp_path: Path) -> None:
    command = [sys.executable, BENCH, "--size", "24", "--runs", "1", "--directory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode in (0, 1), done.stderr  # too little to measure speed
    ours, plain, verdict = done.stdout.splitlines()
    assert ours.startswith("ours ")
    assert plain.startswith("plain GET ")
    assert "of the faster one's speed" in verdict
    assert list(tmp_path.iterdir()) == []
