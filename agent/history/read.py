"""All deployments of this host, as far as the disk has them and this user may read it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from agent.errors import AgentError
from agent.filesystem.disk_use import DiskUse, disk_use
from agent.filesystem.locks import FileLock
from agent.filesystem.regular import read_regular
from agent.history.events import event_of_outcome, events_of_lines, facts_of_lines, with_reported, with_scripts
from agent.history.model import SUCCEEDED, Deployment, EventRun, Group, HostHistory
from agent.history.script_log import deployments_of_log, events_of_log
from agent.store.bindings import Bindings
from agent.store.commands import CommandStore
from agent.store.history import read_history
from agent.store.layout import DEPLOYMENT_LOGS, INSTRUCTIONS, STATE, Layout
from agent.store.pointers import read_last_successful, read_most_recent
from agent.store.retention import is_deployment, may_need_all, removable
from agent.store.skips import skips_of

NEXT_EVENT_WITHIN = 3600.0
"""Seconds after an event in which the service may hand out the next one."""

TRACKED_FOR = 24 * 3600
"""Seconds for which an official agent's tracking file means a deployment in progress."""

_LARGEST = 1 << 20

Found = TypeVar("Found")


class _Records(NamedTuple):
    """What the agent's own records say of all deployments; a deployment is named by its group and its id."""

    reported: dict[tuple[str, str], list[EventRun]]
    in_progress: set[tuple[str, str]]
    newest: dict[str, str]


def read_host(layout: Layout, *, keep: int, measure: bool = True) -> HostHistory:
    """Return every deployment that the disk knows of; ``keep`` are the revisions that a group may have.

    What this user may not read is left out and named. Without ``measure`` the disk used is left out. Raises OSError.
    """
    return _Reader(layout, keep=keep, measure=measure).read()


def group_names(layout: Layout) -> list[str]:
    """Return the ids of the groups that have a directory. Raises OSError."""
    own = {STATE, INSTRUCTIONS, DEPLOYMENT_LOGS, layout.tracking_name}
    with suppress(FileNotFoundError), os.scandir(layout.root_dir) as entries:
        return sorted(one.name for one in entries if one.is_dir() and one.name not in own and one.name[0] != ".")
    return []


class _Reader:
    def __init__(self, layout: Layout, *, keep: int, measure: bool) -> None:
        self._layout = layout
        self._keep = keep
        self._measure = measure
        self._unseen: dict[str, None] = {}
        self._records = _Records({}, set(), {})

    def read(self) -> HostHistory:
        layout = self._layout
        names = self._seen(layout.root_dir, "all deployments", lambda: group_names(layout)) or []
        what = "outcomes, what is in progress and what failed early"
        self._records = self._seen(layout.state, what, self._read_records) or self._records
        groups = {name: self._deployments(name) for name in names}
        for group_id, deployment_id in self._records.reported:
            known = groups.setdefault(group_id, [])
            if deployment_id and all(one.deployment != deployment_id for one in known):
                known.append(self._without_directory(group_id, deployment_id, []))
        self._add_logged(groups)
        skips = self._seen(layout.state, "events to be skipped", lambda: skips_of(layout)) or {}
        found = [
            self._group(name, deployments)._replace(skips=tuple(skips.get(name, ())))
            for name, deployments in groups.items()
            if deployments
        ]
        found.sort(key=lambda group: -group.deployments[0].started)
        return HostHistory(tuple(found), tuple(self._unseen))

    def _seen(self, path: str, what: str, read: Callable[[], Found]) -> Found | None:
        """Return what can be read, None for nothing; note what this user may not read."""
        try:
            return read()
        except PermissionError as error:
            self._unseen[f"{error.filename or path} ({what})"] = None
        except (FileNotFoundError, NotADirectoryError):
            pass
        return None

    def _read_records(self) -> _Records:
        reported: dict[tuple[str, str], list[EventRun]] = {}
        in_progress = set()
        for directory in CommandStore(self._layout):
            with suppress(AgentError, FileNotFoundError):
                progress, outcome = directory.progress(), directory.outcome()
                if outcome is not None:
                    key = (outcome.group_id, outcome.deployment_id)
                    reported.setdefault(key, []).append(event_of_outcome(outcome._asdict()))
                elif progress is not None and directory.holder() is not None:
                    in_progress.add((progress.group_id, progress.deployment_id))
        for found in self._finished():
            key = (str(found.get("group_id")), str(found.get("deployment_id")))
            if all(key):
                reported.setdefault(key, []).append(event_of_outcome(found))
        return _Records(reported, in_progress, Bindings(self._layout).newest_going_on())

    def _finished(self) -> list[dict[str, Any]]:
        directory = os.path.join(self._layout.state, "finished")
        rows = []
        with suppress(FileNotFoundError):
            for name in os.listdir(directory):
                with suppress(ValueError, RecursionError, FileNotFoundError):
                    row = json.loads(read_regular(os.path.join(directory, name), _LARGEST))
                    rows += [row] if isinstance(row, dict) else []
        return rows

    def _deployments(self, group_id: str) -> list[Deployment]:
        directory = os.path.join(self._layout.root_dir, group_id)
        names = self._seen(directory, "deployments of a group", lambda: os.listdir(directory)) or []
        paths = [os.path.join(directory, name) for name in names if not name.startswith(".")]
        return [self._deployment(group_id, path) for path in paths if is_deployment(self._layout, path)]

    def _deployment(self, group_id: str, path: str) -> Deployment:
        layout, name = self._layout, os.path.basename(path)
        lines = self._seen(path, "the history of a deployment", lambda: read_history(layout, path)) or []
        log = layout.script_log(path)
        logged = self._seen(log, "the scripts of a deployment", lambda: events_of_log(log)) or []
        found = Deployment(
            name,
            group_id,
            directory=path,
            facts=facts_of_lines(lines),
            events=tuple(with_scripts(events_of_lines(lines), logged)),
            changed=self._seen(path, "a deployment", lambda: os.lstat(path).st_mtime) or 0.0,
            disk=disk_use(path) if self._measure else DiskUse(),
        )
        if found.outcome == SUCCEEDED:
            return found  # what failed later was a replay
        reported = self._records.reported.get((group_id, name), [])
        return found._replace(events=tuple(with_reported(found.events, reported)))

    def _without_directory(self, group_id: str, deployment_id: str, logged: list[EventRun]) -> Deployment:
        reported = self._records.reported.get((group_id, deployment_id), [])
        return Deployment(deployment_id, group_id, events=tuple(with_reported(logged, reported)))

    def _add_logged(self, groups: dict[str, list[Deployment]]) -> None:
        """Add the deployments that are only in the log of all deployments, which does not say their group."""
        log = self._layout.deployments_log
        logged = self._seen(log, "deployments that are removed", lambda: deployments_of_log(log)) or {}
        places = {one.deployment: (name, at) for name, found in groups.items() for at, one in enumerate(found)}
        for deployment_id, events in logged.items():
            if deployment_id not in places:
                groups.setdefault("", []).append(self._without_directory("", deployment_id, events))
                continue
            group_id, at = places[deployment_id]
            if groups[group_id][at].directory is None:
                groups[group_id][at] = self._without_directory(group_id, deployment_id, events)

    def _group(self, group_id: str, deployments: list[Deployment]) -> Group:
        layout = self._layout
        if not group_id:
            return Group("", tuple(sorted(deployments, key=lambda one: -one.started)))
        good = self._pointer(group_id, read_last_successful)
        recent = self._pointer(group_id, read_most_recent)
        what = "what retention keeps"
        next_gone = self._seen(layout.instructions, what, lambda: self._removed_next(group_id)) or set()
        ordered = sorted(deployments, key=lambda one: -one.started)
        marked = [
            one._replace(
                is_in_progress=self._is_in_progress(one, is_newest=one is ordered[0]),
                is_expected=self._is_expected(one),
                is_last_successful=bool(one.directory) and os.path.realpath(str(one.directory)) == good,
                is_current=bool(one.directory) and os.path.realpath(str(one.directory)) == recent,
                is_removed_next=one.directory in next_gone,
            )
            for one in ordered
        ]
        return Group(group_id, tuple(marked))

    def _pointer(self, group_id: str, read: Callable[[Layout, str], str | None]) -> str:
        what = "which revision is installed"
        found = self._seen(self._layout.instructions, what, lambda: read(self._layout, group_id))
        return os.path.realpath(found) if found else ""

    def _removed_next(self, group_id: str) -> set[str]:
        if may_need_all(self._layout, group_id):
            return set()
        return set(removable(self._layout, group_id, keep=self._keep - 1))

    def _is_in_progress(self, one: Deployment, *, is_newest: bool) -> bool:
        if (one.group, one.deployment) in self._records.in_progress or self._is_tracked(one):
            return True
        lock = self._layout.group_lock(one.group)
        what = "what is in progress"
        return one.is_local and is_newest and self._seen(lock, what, lambda: FileLock.holder(lock)) is not None

    def _is_tracked(self, one: Deployment) -> bool:
        """Return whether an official agent says that a command of a deployment is in progress."""
        path = os.path.join(self._layout.root_dir, self._layout.tracking_name, one.deployment)
        try:
            status = os.lstat(path)
            command = read_regular(path, 4096).decode("utf-8", "replace").strip()
            store = CommandStore(self._layout)
            return (
                time.time() - status.st_mtime < TRACKED_FOR
                and bool(command)
                and not os.path.isdir(store.directory_of(command).path)
                and store.finished(command) is None
            )
        except OSError:
            return False

    def _is_expected(self, one: Deployment) -> bool:
        last = max((event.ended for event in one.events if event.ended is not None), default=0.0)
        return self._records.newest.get(one.group) == one.deployment and time.time() - last < NEXT_EVENT_WITHIN
