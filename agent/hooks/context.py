"""What whoever runs an event hands in, and what it is told about a script that has started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple


class HookOptions(NamedTuple):
    """The settings that concern scripts.

    ``login_session`` runs a script of another account in a session of that account. ``wait_for_outputs`` waits, as the
    official agents do, until everybody has closed the script's outputs, and fails the event at the deadline.
    ``term_grace_seconds`` lie between TERM and KILL. ``umask`` is the scripts' own. ``core_limit`` is their soft limit
    on core dumps in bytes; None leaves them the agent's. ``reject_scripts_writable_by_others`` refuses what is only
    warned of without it. The others are the settings of the official agent 2.x.
    """

    login_session: bool = True
    wait_for_outputs: bool = False
    restrict_env_to_allowlist: bool = False
    strip_loader_env: bool = False
    reject_path_traversal: bool = False
    reject_scripts_writable_by_others: bool = False
    term_grace_seconds: float = 5.0
    umask: int = 0o022
    core_limit: int | None = None


class EventContext(NamedTuple):
    """What the scripts of one event share.

    ``archive`` is the absolute path of the ``deployment-archive`` that holds them, ``variables`` describe the
    deployment, ``cwd`` is their working directory.
    """

    event: str
    archive: str
    variables: Mapping[str, str]
    cwd: str


class RunningScript(NamedTuple):
    """A script that has just started, for a record from which a later process can find it.

    The script leads the process group and session ``pid``. TERM to ``supervisor_pid`` ends the script and everything
    that it has started. The start times, in clock ticks since boot, tell these processes from later ones with the same
    numbers; 0 stands for one that was gone before it could be looked up. ``timeout`` is in seconds.
    """

    location: str
    pid: int
    start_time: int
    supervisor_pid: int
    supervisor_start_time: int
    timeout: float = 0.0


Started = Callable[[RunningScript], None]
"""Called once for each script, when its process exists."""
