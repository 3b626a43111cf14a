"""Noticing that a file of the configuration has changed: by inotify (watchdog), and by looking where that fails."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

QUIET = 0.25
"""Seconds without a further event after which a change counts as complete: editors write in several steps."""

LONGEST_QUIET = 2.0
"""Seconds for which a file that does not come to rest is waited for."""

LOOK_INTERVAL = 60.0
"""Seconds between two looks at the files, for what inotify cannot see: network file systems, targets of links."""

LOOK_OFTEN_INTERVAL = 5.0
"""The same while a directory is missing or cannot be watched."""

_UNINTERESTING = {"opened", "closed_no_write"}

_Signature = tuple[int, ...] | None

_log = logging.getLogger(__name__)


class FileWatch:
    """Calls back when one of a few files was written, replaced, made or removed, until ``close``.

    ``on_change`` is called from a thread of the watch with the paths that have changed, at least once for each change
    and after the file has come to rest; several changes may become one call. Files and their directories need not exist
    yet. A path that is a directory changes with the names in it. Directories are watched rather than files, because a
    file that is replaced by a rename is another file. Importing watchdog costs 1 MiB; each directory costs a thread
    beside the two of watchdog and the one here.
    """

    def __init__(
        self,
        paths: Iterable[str],
        on_change: Callable[[tuple[str, ...]], None],
        *,
        look_interval: float = LOOK_INTERVAL,
        look_often_interval: float = LOOK_OFTEN_INTERVAL,
        quiet: float = QUIET,
    ) -> None:
        self._on_change = on_change
        self._look_interval = look_interval
        self._look_often_interval = look_often_interval
        self._quiet = quiet
        self._wake = threading.Event()
        self._closed = False
        self._known = {os.path.abspath(path): _signature(path) for path in paths}
        directories = {path if os.path.isdir(path) else os.path.dirname(path) for path in self._known}
        self._directories = _Directories(directories, self._wake.set)
        self._thread = threading.Thread(target=self._work, name="file-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching; no call comes after this, unless it is made from the callback itself."""
        self._closed = True
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _work(self) -> None:
        try:
            while not self._closed:
                whole = self._directories.watch_all()
                # Looking comes after watching, so that nothing that happens in between is missed.
                self._tell()
                if self._wake.wait(self._look_interval if whole else self._look_often_interval):
                    self._wait_until_quiet()
        finally:
            self._directories.close()

    def _wait_until_quiet(self) -> None:
        end = time.monotonic() + LONGEST_QUIET
        while not self._closed:
            self._wake.clear()
            if time.monotonic() >= end or not self._wake.wait(self._quiet):
                return

    def _tell(self) -> None:
        if self._closed:
            return
        found = {path: _signature(path) for path in self._known}
        changed = tuple(path for path, signature in found.items() if signature != self._known[path])
        self._known = found
        if changed:
            try:
                self._on_change(changed)
            except Exception:  # noqa: BLE001 - the outermost loop of a thread that has to live on
                _log.exception("A change of %s could not be handled", ", ".join(changed))


class _Directories:
    """The directories of a watch and watchdog's observer of them."""

    def __init__(self, directories: set[str], poke: Callable[[], None]) -> None:
        self._watches: dict[str, tuple[_Signature, Any]] = dict.fromkeys(directories, (None, None))
        self._poke = poke
        self._observer: Any = None
        self._warned = False

    def watch_all(self) -> bool:
        """Watch what is there now, also what has been replaced; gives whether every directory is watched."""
        for directory, (before, watch) in self._watches.items():
            identity = _identity(directory)
            if watch is not None and identity == before:
                continue
            if watch is not None:
                self._forget(watch)
            watch = self._watch(directory) if identity is not None else None
            self._watches[directory] = (identity, watch)
        return all(watch is not None for _, watch in self._watches.values())

    def close(self) -> None:
        """End watchdog's threads."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()

    def _watch(self, directory: str) -> Any:  # noqa: ANN401 - watchdog's ObservedWatch, imported late
        try:
            if self._observer is None:
                from watchdog.observers.inotify import InotifyObserver

                self._observer = InotifyObserver()
                self._observer.daemon = True
                self._observer.start()
            return self._observer.schedule(_handler(self._poke), directory, recursive=False)
        except (OSError, ImportError) as error:
            if not self._warned:
                self._warned = True
                _log.warning("The directory %s cannot be watched, and is looked at now and then: %s", directory, error)
            return None

    def _forget(self, watch: Any) -> None:  # noqa: ANN401
        try:
            self._observer.unschedule(watch)
        except (KeyError, OSError):
            return  # inotify has dropped the watch together with its directory


def _handler(poke: Callable[[], None]) -> Any:  # noqa: ANN401
    from watchdog.events import FileSystemEvent, FileSystemEventHandler

    class Handler(FileSystemEventHandler):
        """Pokes the watch; what has happened is found out by looking."""

        def dispatch(self, event: FileSystemEvent) -> None:
            if event.event_type not in _UNINTERESTING:
                poke()

    return Handler()


def _signature(path: str) -> _Signature:
    """What changes when a file does; None where there is none. Links are followed."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _identity(directory: str) -> _Signature:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino
