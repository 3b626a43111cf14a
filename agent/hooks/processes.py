"""What /proc tells about processes.

psutil would tell the same, but the script supervisor needs it after a fork, where nothing may be imported, and psutil
does not know who holds a pipe.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable
from typing import NamedTuple

_LONGEST_COMMAND = 120

_log = logging.getLogger(__name__)


class Process(NamedTuple):
    """A process at one moment; with its start time, in clock ticks since boot, a pid is not taken for another's."""

    pid: int
    parent: int
    state: str
    start_time: int


def look_up(pid: int) -> Process | None:
    """The process with this pid, or None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            text = stream.read()
        # The command's name stands in brackets and may itself hold brackets and spaces.
        fields = text[text.rindex(b")") + 2 :].split()
        return Process(pid, parent=int(fields[1]), state=fields[0].decode(), start_time=int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None


def is_running(pid: int, start_time: int) -> bool:
    """Whether the process that had this pid and start time still runs; another one with its pid does not count."""
    found = look_up(pid) if pid else None
    return found is not None and found.start_time == start_time and found.state not in "ZX"


def send_signal(pid: int, start_time: int, number: int, *, to_group: bool = False) -> bool:
    """Signal a process, or the group that it leads, unless its pid is another's by now; tell whether it was there.

    Raises PermissionError.
    """
    found = look_up(pid) if pid else None
    if found is None or found.start_time != start_time:
        return False
    try:
        (os.killpg if to_group else os.kill)(pid, number)
    except ProcessLookupError:
        return False
    return True


def signal_tree(leader: int, start_time: int, number: int) -> list[Process]:
    """Signal a script without its supervisor: its process group, and what it has below it; return what was there.

    What su starts is in a group of its own. What has left the group and its parents cannot be told from others.
    """
    found = look_up(leader) if is_running(leader, start_time) else None
    if found is None:
        return []
    tree = [found, *descendants(leader)]
    for process in tree:
        try:
            send_signal(process.pid, process.start_time, number, to_group=process is found)
        except PermissionError as error:
            _log.warning("Process %d could not be signalled: %s", process.pid, error)
    return tree


def descendants(ancestor: int) -> list[Process]:
    """The living children of a process, their children and so on, in no order; zombies are left out.

    None are found where the host has no room for looking.
    """
    children: dict[int, list[Process]] = {}
    for pid in _all_pids():
        process = look_up(pid)
        if process is not None:
            children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    parents = [ancestor]
    while parents:
        born = children.pop(parents.pop(), [])
        found += [process for process in born if process.state not in "ZX"]
        parents += [process.pid for process in born]
    return found


def holders(descriptors: Iterable[int], *, likely: Collection[int], ours: Collection[int]) -> list[int]:
    """The pids of the processes that hold the same pipes as these descriptors of ours, in ascending order.

    The ``likely`` ones are looked at first, and the whole host only if none of them holds any; ``ours`` do not count.
    A process whose descriptors we may not see is left out.
    """
    pipes = {f"pipe:[{os.fstat(descriptor).st_ino}]" for descriptor in descriptors}
    for candidates in (likely, _all_pids()):
        found = [pid for pid in candidates if pid not in ours and _holds(pid, pipes)]
        if found:
            return sorted(found)
    return []


def describe(pid: int) -> str:
    """A process for people: ``123 (sleep 60)``."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            command = stream.read(4096).replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        command = ""
    if len(command) > _LONGEST_COMMAND:
        command = command[:_LONGEST_COMMAND] + "..."
    return f"{pid} ({command})" if command else str(pid)


def _all_pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _holds(pid: int, pipes: Collection[str]) -> bool:
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)
    except OSError:
        return False
    for name in names:
        try:
            if os.readlink(f"{directory}/{name}") in pipes:
                return True
        except OSError:
            continue
    return False
