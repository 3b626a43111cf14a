"""Checks of the records that deployments leave, and the repairs of stale ones."""

from __future__ import annotations

import os
import time

from agent.daemon.pidfile import NAME, PidFile
from agent.daemon.status import commands_in_progress, last_outcome, waiting_outcomes
from agent.doctor.finding import Finding, SkipError, failed, passed, warned
from agent.doctor.subject import Subject
from agent.filesystem.regular import read_regular
from agent.install.journal import JournalDamagedError, open_journals
from agent.runtime.own_directories import check_own_directories
from agent.store.commands import CommandStore
from agent.store.tracking import REPORTED_FOR, remove_tracking, tracked
from agent.text.times import stamp
from agent.traffic.record import Records
from agent.traffic.report import outage_line, outages

LONG_EVENT = 3600.0
"""Seconds after which an event is worth a look: the service's own limit for one is an hour."""

_HOW = "codedeploy-agent deployments show {} tells what happened; so do the log (deployment={}) and scripts.log."


def pid_file(subject: Subject) -> Finding:
    """Look for a pid file whose agent has gone."""
    path = os.path.join(subject.settings.pid_dir, NAME)
    if subject.pid is not None:
        return passed(f"{path} names the running agent, PID {subject.pid}.")
    if os.path.lexists(path):
        return warned(f"{path} is stale: no agent holds its lock.", "Remove it, or use doctor --fix.")
    return passed("No agent is running, and no pid file is left.")


def remove_pid_file(subject: Subject) -> list[str]:
    """Remove a stale pid file, under its lock. Raises AgentError where an agent runs after all."""
    path = os.path.join(subject.settings.pid_dir, NAME)
    if not os.path.lexists(path):
        return []
    check_own_directories(subject.settings, ("pid_dir",))
    with PidFile(subject.settings.pid_dir):
        pass  # leaving the claim removes the file
    return [f"{path} is removed; no agent was running."]


def tracking_files(subject: Subject) -> Finding:
    """Look for tracking files of commands that have ended."""
    stale = _stale_tracking(subject)
    if stale:
        listed = ", ".join(name for name, _ in stale[:5])
        return warned(
            f"{len(stale)} tracking files are stale: {listed}. An official agent would report these as failed.",
            "Remove them, or use doctor --fix.",
        )
    return passed("No tracking file is stale.")


def remove_tracking_files(subject: Subject) -> list[str]:
    """Remove the tracking files of commands that have ended, unless an agent runs. Raises AgentError, OSError."""
    if subject.pid is not None:
        return ["The tracking files stay while the agent runs; its next start removes them."]
    check_own_directories(subject.settings, ("root_dir",))
    stale = _stale_tracking(subject)
    tracked(subject.layout)  # which removes those of a day ago, and sets aside what is not one
    done = []
    for deployment, command in stale:
        remove_tracking(subject.layout, deployment, command)
        path = subject.layout.tracking(deployment)
        if not os.path.lexists(path):
            done.append(f"{path} is removed or set aside.")
    return done


def _stale_tracking(subject: Subject) -> list[tuple[str, str]]:
    """Return the deployments with the commands of files that are a day old, broken, or of commands that have ended."""
    layout, store = subject.layout, CommandStore(subject.layout)
    directory = os.path.dirname(layout.tracking("any"))
    stale = []
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        path = os.path.join(directory, name)
        old = time.time() - os.lstat(path).st_mtime > REPORTED_FOR
        try:
            command = read_regular(path, 4096).decode("ascii", "replace").strip()
        except OSError:
            command = ""
        known = bool(command) and not store.directory_of(command).exists() and store.finished(command) is not None
        if old or not command or known:
            stale.append((name, command))
    return stale


def journals(subject: Subject) -> Finding:
    """Look for Installs that were interrupted."""
    directory = os.path.join(subject.layout.state, "install")
    if commands_in_progress(subject.layout):
        raise SkipError("A deployment is in progress, and has a journal meanwhile.")
    opened, damaged = [], []
    for journal in open_journals(directory):
        try:
            journal.read()
            opened.append(journal.group)
        except JournalDamagedError as error:
            damaged.append(str(error))
    if damaged:
        return failed(
            f"A journal of an Install cannot be read: {'; '.join(damaged)}.",
            "Compare the destinations with the revision; then move the journal away and deploy again.",
        )
    if opened:
        return warned(
            f"An Install of {', '.join(opened)} was interrupted.",
            "Start the agent, or deploy again: either goes back or finishes it first.",
        )
    return passed("No Install is open.")


def in_progress(subject: Subject) -> Finding:
    """Look for events that run for long."""
    found = commands_in_progress(subject.layout)
    slow = [one for one in found if one.since and time.time() - one.since > LONG_EVENT]
    if slow:
        one = slow[0]
        minutes = (time.time() - one.since) / 60
        return warned(
            f"{one.event or 'An event'} of {one.deployment or one.command} has run for {minutes:.0f} min.",
            "See what its script waits for (ps, scripts.log); a timeout in the AppSpec ends it.",
        )
    if found:
        return passed(f"{len(found)} events are in progress, none for long.")
    return passed("No deployment is in progress.")


def outcomes(subject: Subject) -> Finding:
    """Look for outcomes that the service has not accepted."""
    count = len(waiting_outcomes(subject.layout))
    if not count:
        return passed("The service knows the outcome of every command.")
    return warned(
        f"{count} outcomes are not accepted by the service yet.",
        "Repair the way to the service (the checks endpoint and credentials); the agent sends them when it runs.",
    )


def last_deployment(subject: Subject) -> Finding:
    """See how the last command ended, and why."""
    found = last_outcome(subject.layout)
    if found is None:
        return passed("No deployment of the service has ended here yet.")
    ended = stamp(found.ended)
    of = found.deployment or "a command"
    if found.status != "Failed":
        return passed(f"The last command, of {of}, ended as {found.status} ({ended}).")
    why = " ".join(found.message.split()) or "no reason is recorded."
    return warned(
        f"The last command, of {of}, failed ({ended}): {why}", _HOW.format(found.deployment, found.deployment)
    )


def balancer(subject: Subject) -> Finding:
    """See whether this host is out of a load balancer."""
    found = outages(Records(subject.layout.traffic))
    if not found:
        return passed("The agent has taken this host out of no load balancer.")
    lines = [outage_line(row) for row in found]
    remedy = "See codedeploy-agent traffic status; codedeploy-agent traffic allow puts the host back."
    broken = any(row["problem"] or row["state"] is None for row in found)
    return failed(" ".join(lines), remedy) if broken else warned(" ".join(lines), remedy)
