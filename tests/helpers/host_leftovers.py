"""What a lab of test hosts makes on the machine, by its names, and one way to remove it.

A lab named N has the directory BASE/N, network namespaces N-*, control groups N-* and machines N-*. The directory is
made before anything else and removed after everything else. The lab's own end and the sweep that comes after a run
which was killed are the same function, so the sweep needs to know nothing but the directory.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import host_network
from waiting import Guard

BASE = Path("/run/codedeploy-test-hosts")
_PREFIX = "cdh"
_CGROUPS = "cgroups"  # in a lab's directory: where its control groups are, one directory a line
_NSPAWN = Path("/run/systemd/nspawn/propagate")

_serial = 0


def new_lab_directory() -> Path:
    """Make the directory of a new lab of this process, after removing the labs of processes that are no more."""
    global _serial
    BASE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(BASE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for directory in BASE.glob(f"{_PREFIX}-*"):
            if not _owner_is_alive(directory.name):
                remove_lab(directory)
        _serial += 1
        directory = BASE / f"{_PREFIX}-{os.getpid()}-{_start_time(os.getpid())}-{_serial}"
        directory.mkdir()
        (directory / _CGROUPS).write_text("".join(f"{path}\n" for path in cgroup_parents()))
    return directory


def remove_lab(directory: Path) -> None:
    """Remove all that a lab has made: processes first, then what they held."""
    groups = [path for parent in _recorded_parents(directory) for path in parent.glob(f"{directory.name}-*")]
    # What runs inside first: systemd-nspawn then collects its host's process 1 and ends by itself.
    kill_all(group / "payload" for group in groups)
    _wait_until_empty(groups)
    kill_all(groups)
    _unmount_below(directory)
    for name in host_network.namespaces(f"{directory.name}-"):
        host_network.remove_namespace(name)
    for group in groups:
        remove_cgroup(group)
    for path in _NSPAWN.glob(f"{directory.name}-*"):
        path.rmdir()
    subprocess.run(["rm", "-rf", "--one-file-system", "--", str(directory)], check=True)


def cgroup_parents() -> list[Path]:
    """Directories of the control groups that this process is in, in each hierarchy that systemd keeps processes in."""
    ours = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        ours[controllers] = path
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        hierarchy = {"cgroup2": "", "cgroup": "name=systemd"}.get(kind)
        if hierarchy is not None and hierarchy in ours and hierarchy in [*options.split(","), ""]:
            found.append(Path(before.split(" ")[4] + ours[hierarchy]))
    return found


def cgroup_processes(groups: Iterable[Path]) -> set[int]:
    """The processes in these control groups and in those below them."""
    found: set[int] = set()
    # Groups come and go meanwhile; os.walk() passes over those that have gone.
    for directory in [directory for group in groups for directory, _, _ in os.walk(group)]:
        with suppress(OSError):
            found.update(int(pid) for pid in Path(directory, "cgroup.procs").read_text().split())
    return found - {0}


def kill_all(groups: Iterable[Path]) -> None:
    """Kill what runs in these control groups, until nothing does."""
    groups = list(groups)
    guard = Guard()
    while left := cgroup_processes(groups):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not guard.has_hung, f"processes of a test host do not end: {sorted(left)}"
        time.sleep(0.02)


def remove_cgroup(group: Path) -> None:
    """Remove a control group and those below it, when nothing runs there any more."""
    for directory, _, _ in os.walk(group, topdown=False):
        with suppress(FileNotFoundError):
            os.rmdir(directory)


def _wait_until_empty(groups: list[Path], timeout: float = 2.0) -> None:
    deadline = time.monotonic() + timeout
    while cgroup_processes(groups) and time.monotonic() < deadline:
        time.sleep(0.01)


def _recorded_parents(directory: Path) -> list[Path]:
    with suppress(FileNotFoundError):
        return [Path(line) for line in (directory / _CGROUPS).read_text().splitlines()]
    return []


def _unmount_below(directory: Path) -> None:
    """Unmount what is mounted below a directory, the latest first."""
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed([point for point in points if point.startswith(f"{directory}/")]):
        subprocess.run(["umount", "--", point], check=True)


def _owner_is_alive(name: str) -> bool:
    _, pid, started, _ = name.split("-")
    return _start_time(int(pid)) == started


def _start_time(pid: int) -> str:
    """When a process was started, in clock ticks since the boot: with its pid this names one process for good.

    Empty for one that has ended, also where nobody has collected it.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]
