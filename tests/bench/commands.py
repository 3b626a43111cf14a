"""How long whole commands take, as a person or a script waits for them, and the CPU time of all their processes.

    .venv/bin/python tests/bench/commands.py
    .venv/bin/python tests/bench/commands.py --programs ../before/.venv/bin

Each line is one command: the medians of its runs in seconds, the most that the wait may be, and whether that is met.
The commands take turns, so that a machine that is busy for a while slows down all of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple


class Command(NamedTuple):
    """A command, its exit status, and the most seconds that it may take (None: it is there to compare with)."""

    words: str
    status: int
    target: float | None


COMMANDS = (
    Command("python -I -c pass", 0, None),
    Command("codedeploy-agent --version", 0, 0.10),
    Command("codedeploy-agent status --config-file agent.yml", 3, 0.10),
    Command("codedeploy-agent validate revision/appspec.yml", 0, 0.10),
    Command("codedeploy-agent settings --config-file agent.yml", 0, 0.10),
    Command("codedeploy-local -c agent.yml -l revision -b OVERWRITE", 0, 0.13),
)


def prepare(directory: Path) -> None:
    """Write a configuration file, and a revision of one file and one script."""
    revision = directory / "revision"
    revision.mkdir()
    (revision / "page").write_text("hello\n")
    (revision / "hook").write_text("#!/bin/sh\n")
    (revision / "hook").chmod(0o755)
    (revision / "appspec.yml").write_text(
        f"version: 0.0\nos: linux\nfiles:\n  - {{source: page, destination: {directory}/site}}\n"
        "hooks:\n  AfterInstall:\n    - location: hook\n"
    )
    lines = [f"{name}: {directory}/{name}" for name in ("root_dir", "log_dir", "pid_dir")]
    (directory / "agent.yml").write_text("\n".join(lines))


def run(command: Command, programs: Path, directory: Path) -> tuple[float, float]:
    """Run a command once; return its seconds and its CPU seconds. Raises SystemExit where it ends otherwise."""
    name, *arguments = command.words.split()
    os.sync()
    began = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([programs / name, *arguments], cwd=directory, **quiet) as process:
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != command.status:
        raise SystemExit(f"{command.words} ended with {process.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=21, help="runs of each command, of which the median counts")
    parser.add_argument("--programs", type=Path, default=Path(sys.executable).parent, help="the programs' directory")
    options = parser.parse_args()
    measured: dict[Command, list[tuple[float, float]]] = {command: [] for command in COMMANDS}
    with tempfile.TemporaryDirectory(prefix="codedeploy-bench-") as directory:
        prepare(Path(directory))
        for _ in range(options.runs):
            for command, runs in measured.items():
                runs.append(run(command, options.programs.absolute(), Path(directory)))
    for command, runs in measured.items():
        seconds, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
        verdict = "" if command.target is None else "met" if seconds <= command.target else "MISSED"
        most = "" if command.target is None else f"at most {command.target:.2f} s"
        print(f"{command.words:<56} {seconds:>6.3f} s {cpu:>6.3f} s of CPU  {most:<14} {verdict}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
