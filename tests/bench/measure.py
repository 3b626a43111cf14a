"""One command as a whole process: how long it took, and the most memory that it or a child of it held."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

# A process begins with the memory of the one that started it counted as its peak, so the command is started and
# waited for by an interpreter that has loaded next to nothing. It writes: seconds, peak in KiB, exit status.
_LAUNCHER = """
import os, sys, time
begin = time.perf_counter()
pid = os.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
status, usage = os.wait4(pid, 0)[1:]
seconds = time.perf_counter() - begin
with open(sys.argv[1], "w") as file:
    file.write(f"{seconds} {usage.ru_maxrss} {os.waitstatus_to_exitcode(status)}")
"""


@dataclass(frozen=True)
class Measurement:
    """Seconds of one run, and its peak in KiB (that of the largest process, not their sum)."""

    seconds: float
    peak_kib: int


class BenchError(Exception):
    """A measured command failed, so there is nothing to compare."""


def measure(command: Sequence[str], *, directory: str) -> Measurement:
    """Run a command in a directory and measure it.

    What earlier runs left to be written is written first, so that no run pays for another.
    Raises BenchError when the command fails.
    """
    os.sync()
    note = os.path.join(directory, "measured")
    with open(os.path.join(directory, "output"), "w+b") as output:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, note, *command],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=True,
        )
        with open(note) as file:
            seconds, peak, status = file.read().split()
        if int(status) != 0:
            output.seek(0)
            raise BenchError(
                f"{' '.join(command)} ended with {status}:\n{output.read()[-2000:].decode(errors='replace')}"
            )
    return Measurement(float(seconds), int(peak))
