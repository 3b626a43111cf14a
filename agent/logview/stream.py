"""All logs of a host as one stream of entries in the order of time, as history and while they are written."""

from __future__ import annotations

import glob
import heapq
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from agent.logview.entries import LEVELS, AgentLines, DeploymentsLines, Entry, ScriptLines
from agent.logview.tail import Tail
from agent.store.layout import INSTRUCTIONS, STATE, Layout

BATCH = 20_000
"""Lines of one log that are taken at once while it is followed."""

QUIET_FOR = 1.0
"""Seconds for which the logs are looked at every so often after something was written; then inotify is waited for."""

PAUSE = 0.05
LONGEST_PAUSE = 2.0
"""Seconds between two looks, while something is written and at most."""

LOOK_FOR_DEPLOYMENTS = 0.5
"""Seconds between two looks for logs of new deployments."""


class Choice(NamedTuple):
    """Which entries to show; an empty text stands for all, ``since`` is in seconds since the epoch."""

    deployment: str = ""
    group: str = ""
    event: str = ""
    level: str = "DEBUG"
    since: float = 0.0
    agent: bool = True
    scripts: bool = True

    def has(self, entry: Entry) -> bool:
        """Return whether to show an entry."""
        return (
            entry.time >= self.since
            and (not self.deployment or entry.deployment == self.deployment)
            and (not self.group or entry.group == self.group)
            and (not self.event or entry.event == self.event)
            and (entry.level not in LEVELS or LEVELS.index(entry.level) >= LEVELS.index(self.level))
        )


class _Source:
    """One log and the reader of its lines; keys never go back within it, whatever the clock did."""

    def __init__(self, path: str, read: Callable[[bytes], Entry], choice: Choice) -> None:
        self.tail = Tail(path, since=choice.since)
        self._read = read
        self._key = (0, 0)

    def keyed(self, lines: Iterator[bytes] | list[bytes]) -> Iterator[tuple[tuple[int, int], Entry]]:
        """Yield the entries of lines with the keys that they are merged by."""
        for line in lines:
            entry = self._read(line)
            self._key = max(self._key, (int(entry.time), entry.rank))
            yield self._key, entry


class Stream:
    """The entries of a host's logs. ``complain`` gets the error of a log that cannot be read, which is left out."""

    def __init__(self, layout: Layout, log_dir: str, choice: Choice, complain: Callable[[OSError], None]) -> None:
        self._layout = layout
        self._choice = choice
        self._complain = complain
        self._sources: dict[str, _Source] = {}
        self._script_logs: set[str] = set()
        self._own: set[str] = set()
        self._gone: set[str] = set()
        self._looked = float("-inf")
        if choice.agent:
            self._add(os.path.join(log_dir, f"{layout.program_name}.log"), AgentLines("agent").entry)
            self._add(os.path.join(log_dir, "codedeploy-local.log"), AgentLines("local").entry)
        if choice.scripts:
            self._complain_of_closed_directories()
            self._find_deployments()
            self._add(layout.deployments_log, DeploymentsLines().entry)

    def history(self) -> Iterator[Entry]:
        """Yield what is there now, in the order of time; memory is a chunk of each file."""
        parts = [self._history_of(source) for source in list(self._sources.values())]
        for _, entry in heapq.merge(*parts, key=lambda keyed: keyed[0]):
            if self._wants(entry):
                yield entry

    def follow(self) -> Iterator[list[Entry]]:
        """Yield what is there, and then what is written, in batches that are each in order; without an end."""
        written = time.monotonic()
        while True:
            self._find_deployments()
            batches = [list(source.keyed(self._take(source))) for source in list(self._sources.values())]
            if any(batches):
                written = time.monotonic()
                merged = heapq.merge(*batches, key=lambda keyed: keyed[0])
                yield [entry for _, entry in merged if self._wants(entry)]
            elif time.monotonic() - written < QUIET_FOR:
                time.sleep(PAUSE)
            else:
                self._wait()

    def _history_of(self, source: _Source) -> Iterator[tuple[tuple[int, int], Entry]]:
        try:
            yield from source.keyed(source.tail.history())
        except OSError as error:
            self._leave_out(source, error)

    def _take(self, source: _Source) -> list[bytes]:
        try:
            return source.tail.take(BATCH)
        except OSError as error:
            self._leave_out(source, error)
            return []

    def _leave_out(self, source: _Source, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self._complain(error)
            source.tail = Tail("/nowhere/at-all")

    def _wants(self, entry: Entry) -> bool:
        if entry.source == "script" and not entry.group and not self._is_only_here(entry.deployment):
            return False
        return self._choice.has(entry)

    def _is_only_here(self, deployment: str) -> bool:
        """Return whether a line of the log of all deployments is in no log of a deployment of its own."""
        if deployment in self._own or not deployment:
            return False
        if deployment not in self._gone:
            # The deployment's own log is written first, so it is there, unless the deployment was removed.
            self._add_deployments(deployment)
            if deployment in self._own:
                return False
            self._gone.add(deployment)
        return True

    def _add(self, path: str, read: Callable[[bytes], Entry]) -> None:
        self._sources[path] = _Source(path, read, self._choice)

    def _complain_of_closed_directories(self) -> None:
        """Report the directories whose logs are left out because this user may not list them."""
        root = self._layout.root_dir
        for directory in [root, *glob.glob(os.path.join(glob.escape(root), "*", ""))]:
            try:
                os.listdir(directory)
            except PermissionError as error:
                if os.path.basename(directory.rstrip("/")) not in (STATE, INSTRUCTIONS):
                    error.filename = directory.rstrip("/")
                    self._complain(error)
            except OSError:
                continue  # it does not exist yet, or is not a directory

    def _find_deployments(self) -> None:
        """Add the logs of deployments that are new, and forget those that retention has removed."""
        if not self._choice.scripts or time.monotonic() - self._looked < LOOK_FOR_DEPLOYMENTS:
            return
        self._looked = time.monotonic()
        for path in self._script_logs - {path for path in self._script_logs if os.path.exists(os.path.dirname(path))}:
            self._script_logs.discard(path)
            self._sources.pop(path).tail.close()
        self._add_deployments("*")

    def _add_deployments(self, name: str) -> None:
        root = glob.escape(self._layout.root_dir)
        name = name if name == "*" else glob.escape(name)
        for path in glob.glob(os.path.join(root, "*", name, "logs", "scripts.log")):
            directory = os.path.dirname(os.path.dirname(path))
            deployment, group = os.path.basename(directory), os.path.basename(os.path.dirname(directory))
            self._own.add(deployment)
            is_chosen = self._choice.deployment in ("", deployment) and self._choice.group in ("", group)
            if is_chosen and path not in self._sources:
                self._script_logs.add(path)
                self._add(path, ScriptLines(deployment, group).entry)

    def _wait(self) -> None:
        """Wait until inotify reports a change in a directory of a log, or for a while."""
        from watchdog.events import FileSystemEvent, FileSystemEventHandler
        from watchdog.observers import Observer

        changed = threading.Event()

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                if event.event_type not in ("opened", "closed_no_write"):
                    changed.set()

        observer = Observer()
        directories = {os.path.dirname(path) for path in self._sources} | {self._layout.root_dir}
        try:
            for directory in directories:
                if os.path.isdir(directory):
                    observer.schedule(Handler(), directory)
            observer.start()
        except OSError:  # the host has no watches left
            time.sleep(PAUSE * 4)
            return
        try:
            if not any(source.tail.has_news() for source in self._sources.values()):
                changed.wait(LONGEST_PAUSE)
        finally:
            observer.stop()
            observer.join()
