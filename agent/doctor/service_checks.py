"""Checks of the agent's unit and processes, of other agents, and of what the host needs for scripts."""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import Any

from agent import __version__
from agent.config.file import load_usable
from agent.daemon.status import read_status
from agent.daemon.status_file import status_files
from agent.doctor.finding import Finding, SkipError, failed, passed, warned
from agent.doctor.subject import Subject
from agent.fleet import manifest, official, places
from agent.fleet.commands import attempt, find
from agent.fleet.service_manager import ServiceManager
from agent.hooks.launch import LOGIN_PROGRAMS
from agent.install import selinux

_PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "FragmentPath",
    "DropInPaths",
    "NeedDaemonReload",
    "WatchdogUSec",
    "NRestarts",
)
_SYSTEMCTL_LIMIT = 8.0  # seconds

SLOWEST_POLL = 600.0
"""Seconds without a good poll after which something is wrong, whatever the pauses between polls are."""

FIRST_POLL = 120.0
"""Seconds that the first poll may take: the service holds it open while there is nothing to do."""

_SHOWN = 3  # of the other agents

_LOOK = f"See journalctl --unit {places.SERVICE}."


def unit_properties(subject: Subject) -> dict[str, str]:
    """Return what systemd says of the unit. Raises SkipError where no systemd runs."""
    return subject.once("unit", lambda: _find_properties(subject))


def _find_properties(subject: Subject) -> dict[str, str]:
    systemctl = find("systemctl")
    if not ServiceManager(subject.places).running or systemctl is None:
        raise SkipError("No systemd runs here.")
    command = [systemctl, "show", places.SERVICE, f"--property={','.join(_PROPERTIES)}"]
    lines = attempt(command, limit=_SYSTEMCTL_LIMIT).output.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _unit_file(subject: Subject) -> dict[str, str]:
    found = unit_properties(subject)
    if found.get("LoadState") == "not-found":
        raise SkipError("There is no unit codedeploy-agent: this host has no installed agent.")
    return found


def unit_active(subject: Subject) -> Finding:
    """See whether the agent runs."""
    try:
        found = _unit_file(subject)
    except SkipError as reason:
        return _running(subject, str(reason))
    state = f"{found.get('ActiveState')} ({found.get('SubState')})"
    if found.get("ActiveState") != "active":
        return failed(f"The service is {state}.", f"systemctl start codedeploy-agent. {_LOOK}")
    restarts = int(found.get("NRestarts") or 0)
    if restarts:
        return warned(f"The service is {state}; systemd has started it again {restarts} times by itself.", _LOOK)
    return passed(f"The service is {state}.")


def _running(subject: Subject, why: str) -> Finding:
    pid = subject.pid
    if pid is None:
        return failed(f"No agent is running. {why}", "Install the agent as a service, or run codedeploy-agent start.")
    return passed(f"The agent is running as PID {pid}. {why}")


def unit_masked(subject: Subject) -> Finding:
    """See whether an administrator has forbidden the service."""
    if "masked" in (unit_properties(subject).get("LoadState"), unit_properties(subject).get("UnitFileState")):
        return failed("The service is masked: nothing can start it.", "systemctl unmask --now codedeploy-agent.")
    return passed("The service is not masked.")


def unit_enabled(subject: Subject) -> Finding:
    """See whether the agent starts with the host."""
    state = _unit_file(subject).get("UnitFileState", "")
    if state.startswith("masked"):
        raise SkipError("The service is masked: see the check unit-masked.")
    if state.startswith("enabled"):
        return passed("The service starts with the host.")
    return warned(f"The service does not start with the host ({state}).", "systemctl enable codedeploy-agent.")


def unit_edited(subject: Subject) -> Finding:
    """See whether the unit is the one that was installed, and what drop-ins change."""
    found = _unit_file(subject)
    read = found.get("DropInPaths", "").split()
    if found.get("NeedDaemonReload") == "yes" or not _drop_ins(subject) <= set(read):
        return warned("The unit has changed since systemd read it.", "systemctl daemon-reload.")
    known = manifest.load(subject.places)
    path = found.get("FragmentPath", "")
    if known and path in known.files and _digest(path) != known.files[path]:
        return warned(f"{path} was edited.", "Move the changes to a drop-in: an upgrade replaces this file.")
    drop_ins = [one for one in read if known is None or one not in known.files]
    if drop_ins:
        return warned(f"Drop-ins change the service: {', '.join(drop_ins)}.", "See that they are meant.")
    return passed(f"{path} is as it was installed, and no drop-in changes it.")


def _drop_ins(subject: Subject) -> set[str]:
    """Return the drop-ins on the disk: systemd does not notice the first one of a unit by itself."""
    directory = subject.places.at(places.DROP_INS)
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return {f"{places.DROP_INS}/{name}" for name in names if name.endswith(".conf")}


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def watchdog(subject: Subject) -> Finding:
    """See whether systemd restarts an agent that hangs, and leaves alone one that waits for an answer."""
    text = _unit_file(subject).get("WatchdogUSec", "")
    seconds = _seconds(text)
    longest = subject.settings.http_read_timeout
    if seconds == 0:
        return warned("The watchdog is off: an agent that hangs stays.", "Set WatchdogSec=180 in a drop-in.")
    if seconds <= longest:
        return failed(
            f"The watchdog ends the agent after {seconds:g} s, and a poll may take {longest:g} s.",
            "Set WatchdogSec= above http_read_timeout in a drop-in.",
        )
    return passed(f"systemd restarts an agent that hangs for {seconds:g} s.")


def _seconds(text: str) -> float:
    """Return a time as systemctl shows it, such as "3min 20s"; 0 for "infinity" and for none."""
    units = {"ms": 0.001, "us": 1e-6, "min": 60, "s": 1, "h": 3600, "d": 86400, "day": 86400}
    total = 0.0
    for word in text.split():
        number = word.rstrip("abcdefghijklmnopqrstuvwxyz")
        if number:
            total += float(number) * units.get(word[len(number) :], 0)
    return total


def polling(subject: Subject) -> Finding:
    """See whether the running agent gets answers to its polls."""
    status = _written_status(subject)
    if status.get("problems"):
        text = f"The agent has a problem that lasts: {status['problems'][0]['text']}"
        return failed(text, "Repair this; the agent goes on alone.")
    last_success = status.get("last_success")
    age = max(time.time() - (last_success or status.get("started") or 0.0), 0)
    if not last_success and age < FIRST_POLL:
        return passed(f"The agent was started {age:.0f} s ago, and its first poll lasts.")
    text = f"The last good poll was {age:.0f} s ago."
    if not last_success:
        text = "No poll has succeeded since the agent was started."
    limit = max(SLOWEST_POLL, 3 * subject.settings.wait_between_runs)
    if last_success and age < limit:
        return passed(text)
    return failed(text, "See the agent's log, and the checks of the network and disk.")


def version(subject: Subject) -> Finding:
    """See whether the running agent is the installed one."""
    running = _written_status(subject).get("version")
    if running == __version__:
        return passed(f"Version {__version__} is installed and runs.")
    return warned(
        f"The agent that runs has version {running or 'unknown'}, and {__version__} is installed.",
        "systemctl restart codedeploy-agent: deployments in progress go on.",
    )


def _written_status(subject: Subject) -> dict[str, Any]:
    pid = subject.pid
    if pid is None:
        raise SkipError("No agent is running: see the check unit-active.")
    return read_status(status_files(subject.settings, pid), pid).fields


def second_agent(subject: Subject) -> Finding:
    """Look for processes that poll beside this host's agent."""
    ours = subject.pid
    others = {pid: words for pid, words in _agent_processes().items() if pid != ours}
    if not others:
        return passed("No other agent runs.")
    listed = ", ".join(f"{pid} ({_shortened(words)})" for pid, words in list(others.items())[:_SHOWN])
    listed += f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    text = f"Beside {f'the agent {ours}' if ours else 'this configuration'}, other agents run: {listed}."
    if all(_has_other_root(pid, words, subject.settings.root_dir) for pid, words in others.items()):
        return warned(text, "Give each agent an identity of its own: else they take each other's commands away.")
    return failed(text, "Stop all but one: they take each other's commands away.")


def _agent_processes() -> dict[int, list[str]]:
    """Return the agents among the processes of this host, ours and official ones, with their command lines."""
    import psutil

    found, parents = {}, {}
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if _is_agent(words) and _is_of_this_host(process.pid):
                found[process.pid], parents[process.pid] = words, process.ppid()
        except psutil.Error:
            continue
    return {pid: words for pid, words in found.items() if parents[pid] not in found}


def _is_agent(words: list[str]) -> bool:
    # The official 1.x is a Ruby process that renames itself: "codedeploy-agent: master 4711".
    if words and words[0].startswith("codedeploy-agent: master"):
        return True
    return "codedeploy-agent" in map(os.path.basename, words[:2]) and "start" in words[1:]


def _shortened(words: list[str]) -> str:
    """Return a command line without the interpreter and the directory of the program."""
    first = 1 if len(words) > 1 and os.path.basename(words[1]) == "codedeploy-agent" else 0
    return " ".join([os.path.basename(words[first]), *words[first + 1 :]])[:120]


def _is_of_this_host(pid: int) -> bool:
    """Return whether a process is not one of a container."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    except OSError:
        return True


def _has_other_root(pid: int, words: list[str], root_dir: str) -> bool:
    """Return whether an agent's command line names a configuration with another root directory."""
    line = " ".join(words)
    named = re.search(r"--config[-_]file[= ](\S+)", line)
    if named is None:
        return False
    path = os.path.join(f"/proc/{pid}/cwd", named[1])
    return os.path.isfile(path) and load_usable(path)[0].root_dir != root_dir


def official_agent(subject: Subject) -> Finding:
    """Look for an official agent's package, unit and init script."""
    known = manifest.load(subject.places)
    found = official.find_official(subject.places, ours=known.files if known else ())
    if found is None:
        return passed("No official agent is installed.")
    return warned(
        f"An official agent is on this host: {found}.",
        "codedeploy-agent install --take-over replaces it and keeps its state; else remove one of the two.",
    )


def updaters(subject: Subject) -> Finding:
    """Look for what installs or updates an official agent by itself."""
    found = official.updaters(subject.places)
    if found:
        return warned(
            f"These may install the official agent again: {', '.join(found)}.",
            "Remove them; in Systems Manager, end the association of AWSCodeDeployAgent.",
        )
    return passed("No cron job, timer or package of Systems Manager updates an official agent.")


def selinux_tools(subject: Subject) -> Finding:
    """See whether an AppSpec's context can be set, where the kernel runs with SELinux."""
    if not selinux.is_enabled():
        return passed("SELinux is off.")
    missing = selinux.missing_tools()
    if missing:
        return warned(
            f"SELinux is on, and {' and '.join(missing)} are not installed: an AppSpec with context fails.",
            "Install policycoreutils and policycoreutils-python-utils (Debian: semanage-utils).",
        )
    return passed("SELinux is on, and its tools are installed.")


def login_sessions(subject: Subject) -> Finding:
    """See whether scripts with runas get a login session."""
    if subject.settings.runas_session != "pam":
        return passed("runas_session is none: scripts with runas get no login session.")
    if os.geteuid() != 0:
        raise SkipError("Only an agent that is root opens login sessions.")
    program = next((name for name in LOGIN_PROGRAMS if find(name)), None)
    if program is None:
        return warned(
            f"Neither {' nor '.join(LOGIN_PROGRAMS)} is installed: scripts with runas get no login session.",
            "Install util-linux, or set runas_session: none.",
        )
    if not os.path.exists(subject.places.at(f"/etc/pam.d/{program}")):
        return warned(
            f"PAM has no service {program} (/etc/pam.d/{program}): scripts with runas may be refused.",
            f"Install the package that {program} is from again, or set runas_session: none.",
        )
    return passed(f"Scripts with runas get a session from {program}.")
