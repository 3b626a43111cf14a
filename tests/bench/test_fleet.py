from __future__ import annotations

import os
import subprocess
import sys

MODEL = os.path.join(os.path.dirname(__file__), "fleet.py")


def test_a_fleet_that_starts_together_or_comes_back_together_does_not_poll_together() -> None:
    # Of so few hosts chance lets many poll in one second; ten seconds show what is not chance.
    done = subprocess.run(
        [sys.executable, MODEL, "--hosts", "2000", "--bucket", "10"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 7
    assert [line.endswith(" met") for line in lines] == [False, True, False, True, True, False, True]
