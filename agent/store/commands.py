"""What is known of each host command while it is in hand: one directory below ``agent-state/commands`` for each.

``record.json`` is the intent: written by the supervisor before anything is done, never changed. ``progress.json`` is
written by the worker before its first step, and again as it goes on. ``outcome.json`` is how the command ended, from
before it is reported until the service has accepted it. Whoever works on a command holds the lock on ``lock``.

What the disk does not take of an outcome, or of its report, is kept in the directory ``Layout.kept`` until this host
goes down, so that a later worker neither forgets it nor reports another one.

Of a command that is reported a single file remains in ``finished``, so that one that the service hands out again is
answered with its outcome instead of being run twice.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from agent.errors import AgentError
from agent.filesystem.boot import boot_id, since_boot
from agent.filesystem.durable import make_directory, remove_if_there, replace, sync_directory, write_durably
from agent.filesystem.locks import FileLock
from agent.filesystem.regular import read_regular
from agent.filesystem.trees import remove_tree
from agent.store.directories import make_state_directory
from agent.store.layout import Layout

VERSION = 1
"""Of the format of all files here; a file with another one is set aside."""

FINISHED_KEPT = 200
"""Commands that are remembered after they were reported; seven make a deployment."""

SHORT = 12
"""Characters of a command's short id, by which the log names it: the end of the name of its directory."""

_LARGEST = 1024 * 1024
_NOT_A_FILE = (errno.EINVAL, errno.ELOOP, errno.EMLINK, errno.ENXIO)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")

_log = logging.getLogger(__name__)


class RecordError(AgentError):
    """A record of a command cannot be used."""


class CommandRecord(NamedTuple):
    """A command as the service handed it out, and when; ``order`` counts nanoseconds of the boot ``boot_id``."""

    command_identifier: str
    host_identifier: str
    execution_id: str
    command_name: str
    received_at: float
    order: int
    boot_id: str


class Progress(NamedTuple):
    """How far a worker has come: what it works on, and the script that runs now with its supervisor.

    ``committed`` is true from before the acknowledgement is sent: as long as it is false nothing was done to this host,
    and the command may be begun again; ``starts`` counts how often it was. The processes are told from later
    ones with the same numbers by their start times and by the boot.
    """

    boot_id: str
    starts: int = 1
    deployment_id: str = ""
    group_id: str = ""
    committed: bool = False
    script: str = ""
    script_pid: int = 0
    script_start_time: int = 0
    supervisor_pid: int = 0
    supervisor_start_time: int = 0
    script_timeout: float = 0.0
    group_name: str = ""


class SavedOutcome(NamedTuple):
    """How a command ended at ``ended_at``, ``seconds`` after it came; ``closed_as`` where the service ended it."""

    status: str
    payload: str
    ended_at: float
    deployment_id: str = ""
    group_id: str = ""
    event: str = ""
    seconds: float = 0.0
    ends_deployment: bool = False
    closed_as: str = ""


class KeptOutcome(NamedTuple):
    """An outcome that the disk did not take, as it was in the boot ``boot_id``; ``reported`` says who knows it."""

    boot_id: str
    reported: bool
    status: str
    payload: str
    ended_at: float
    deployment_id: str = ""
    group_id: str = ""
    event: str = ""
    seconds: float = 0.0
    ends_deployment: bool = False
    closed_as: str = ""

    @property
    def outcome(self) -> SavedOutcome:
        """The outcome itself."""
        return SavedOutcome(*self[2:])


Kind = TypeVar("Kind", CommandRecord, Progress, SavedOutcome, KeptOutcome)


class CommandDirectory:
    """The files of one command; ``kept`` is the directory for what the disk does not take, empty for none."""

    def __init__(self, path: str, *, kept: str = "") -> None:
        self.path = path
        self.key = os.path.basename(path)
        self.short = self.key[-SHORT:]
        self.kept_path = os.path.join(kept, f"{self.key}.json") if kept else ""

    def exists(self) -> bool:
        """Whether the command is in hand. Raises OSError where the disk does not say."""
        return _exists(self.path)

    def lock(self) -> FileLock:
        """The lock of whoever works on the command; not yet taken."""
        return FileLock(os.path.join(self.path, "lock"), purpose=f"the worker of command {self.short}")

    def holder(self) -> int | None:
        """The process that works on the command now, None where nobody does. Raises OSError."""
        return FileLock.holder(os.path.join(self.path, "lock"))

    def record(self) -> CommandRecord:
        """The intent. Raises RecordError where it is missing or damaged, OSError where it cannot be read now."""
        found = self._read("record.json", CommandRecord)
        if found is None:
            raise RecordError(f"The directory {self.path} holds no record of a command.")
        return found

    def progress(self) -> Progress | None:
        """How far a worker came; None where none has begun. Raises RecordError, OSError."""
        return self._read("progress.json", Progress)

    def outcome(self) -> SavedOutcome | None:
        """How the command ended, also where the disk did not take it; None as long as it has not.

        Raises RecordError, OSError.
        """
        kept = self.kept()
        return kept.outcome if kept is not None else self._read("outcome.json", SavedOutcome)

    def is_saved(self) -> bool:
        """Whether the disk has taken the outcome. Raises OSError."""
        return _exists(os.path.join(self.path, "outcome.json"))

    def keep(self, outcome: SavedOutcome, *, reported: bool) -> None:
        """Keep what the disk does not take until this host goes down. Raises OSError."""
        if self.kept_path:
            make_directory(os.path.dirname(self.kept_path), mode=0o700)
            replace(self.kept_path, _render(KeptOutcome(boot_id(), reported, *outcome)), mode=0o600)

    def kept(self) -> KeptOutcome | None:
        """What the disk did not take since this host went up; None for nothing. Raises OSError."""
        try:
            found = self._read(self.kept_path, KeptOutcome) if self.kept_path else None
        except RecordError as error:
            _log.warning("%s It is not used", error)
            return None
        return found if found is not None and found.boot_id == boot_id() else None

    def save_progress(self, progress: Progress, *, durably: bool) -> None:
        """Write the progress; one that need not survive a power cut is written without waiting for the disk.

        Raises OSError.
        """
        if durably:
            self._write("progress.json", progress)
        else:
            replace(os.path.join(self.path, "progress.json"), _render(progress), mode=0o600)

    def save_outcome(self, outcome: SavedOutcome) -> None:
        """Write the outcome durably. Raises OSError."""
        self._write("outcome.json", outcome)

    def forget_kept(self) -> None:
        """Keep nothing any more, because the disk has it. Raises OSError."""
        if self.kept_path:
            remove_if_there(self.kept_path)

    def _write(self, name: str, value: Progress | SavedOutcome) -> None:
        write_durably(os.path.join(self.path, name), _render(value), mode=0o600)

    def _read(self, name: str, kind: type[Kind]) -> Kind | None:
        path = os.path.join(self.path, name)
        try:
            data = read_regular(path, _LARGEST)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno not in _NOT_A_FILE:
                raise
            raise RecordError(f"The record {path} cannot be read: {error.strerror}.") from error
        return _parse(data, kind, path)


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _render(value: CommandRecord | Progress | SavedOutcome | KeptOutcome) -> bytes:
    return json.dumps({"version": VERSION, **value._asdict()}).encode()


def _parse(data: bytes, kind: type[Kind], path: str) -> Kind:
    try:
        fields = json.loads(data)
        if not isinstance(fields, dict) or fields.pop("version", None) != VERSION:
            raise ValueError("it has another format")
        for name in ("pid", "start_time"):
            before = fields.pop(f"keeper_{name}", 0)  # as earlier versions wrote it
            fields.setdefault(f"supervisor_{name}", before)
        known: dict[str, Any] = {name: value for name, value in fields.items() if name in kind._fields}
        value = kind(**known)
        _check_types(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise RecordError(f"The record {path} cannot be understood: {error}.") from error
    return value


def _check_types(value: CommandRecord | Progress | SavedOutcome | KeptOutcome) -> None:
    for name, expected in type(value).__annotations__.items():
        expected = getattr(expected, "__forward_arg__", expected)
        found = type(getattr(value, name)).__name__
        if found != expected and not (expected == "float" and found == "int"):
            raise ValueError(f"{name} is not of the type {expected}")


def key_of(command_identifier: str) -> str:
    """The name of a command's directory: readable, safe as a file name, and different for different commands."""
    import hashlib  # a local deployment is spared it

    digest = hashlib.sha256(command_identifier.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_UNSAFE.sub('_', command_identifier)[:60].lstrip('.')}-{digest[:12]}"


class CommandStore:
    """All commands that are in hand below one root directory, and those that were."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.directory = os.path.join(layout.state, "commands")
        self._finished = os.path.join(layout.state, "finished")
        self._aside = os.path.join(layout.state, "set-aside")

    def directory_of(self, command_identifier: str) -> CommandDirectory:
        """Where a command's files are, or would be."""
        return self.directory_at(key_of(command_identifier))

    def directory_at(self, key: str) -> CommandDirectory:
        """The files of the command whose directory has this name."""
        return CommandDirectory(os.path.join(self.directory, key), kept=self.layout.kept)

    def add(self, record: CommandRecord, outcome: SavedOutcome | None = None) -> CommandDirectory:
        """Write down durably what is to be done, or how it has ended already. Raises OSError, RootDirectoryError."""
        make_state_directory(self.layout, self.directory)
        directory = self.directory_of(record.command_identifier)
        # The directory appears with its record in it, so that whoever looks never meets one without.
        making = os.path.join(self.directory, f".{directory.key}.new~")
        if os.path.isdir(making):
            remove_tree(making)
        os.mkdir(making, 0o700)
        write_durably(os.path.join(making, "record.json"), _render(record), mode=0o600)
        if outcome is not None:
            write_durably(os.path.join(making, "outcome.json"), _render(outcome), mode=0o600)
        os.rename(making, directory.path)
        if outcome is not None:
            # It is to be reported, also if it was before: what is remembered of it does not count any more.
            remove_if_there(self._finished_file(directory.key))
            directory.forget_kept()
        sync_directory(self.directory)
        return directory

    def __iter__(self) -> Iterator[CommandDirectory]:
        """The commands in hand, in no order; what is half made is left out. Raises OSError."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return
        for name in names:
            if not name.startswith("."):
                yield self.directory_at(name)

    def finish(self, directory: CommandDirectory, outcome: SavedOutcome) -> None:
        """Keep only the outcome of a command that was reported, and of the earlier ones the newest.

        What a full disk does not take of it is kept until this host goes down. Raises OSError where the record itself
        cannot be removed.
        """
        remembered = True
        try:
            make_state_directory(self.layout, self._finished)
            write_durably(self._finished_file(directory.key), _render(outcome), mode=0o600)
        except (OSError, AgentError) as error:
            remembered = False
            _log.warning("After a restart of this host it is not known that the command has ended: %s", error)
            directory.keep(outcome, reported=True)
        # It disappears as a whole: a directory that has lost its outcome, but not its record, would be begun again.
        gone = os.path.join(self.directory, f".{directory.key}.gone~")
        _remove_if_there(gone)
        os.rename(directory.path, gone)
        try:
            if remembered:
                directory.forget_kept()
            _remove_if_there(gone)
            self._forget_old()
        except OSError as error:  # the next start removes it
            _log.warning("What is left of the command cannot be removed now: %s", error)

    def finished(self, command_identifier: str) -> SavedOutcome | None:
        """How a command ended that was reported already; None where it is not known (any more).

        Raises OSError where the disk does not say: such a command must not be begun.
        """
        return self.finished_at(self.directory_of(command_identifier))

    def finished_at(self, directory: CommandDirectory) -> SavedOutcome | None:
        """Return what ``finished`` does of the command that a directory is, or was, for."""
        path = self._finished_file(directory.key)
        try:
            return _parse(read_regular(path, _LARGEST), SavedOutcome, path)
        except (FileNotFoundError, NotADirectoryError, RecordError):
            kept = directory.kept()
        return kept.outcome if kept is not None and kept.reported else None

    def sweep(self) -> None:
        """Remove what a kill has left half made or half removed; for the supervisor's start. An error is logged."""
        try:
            for name in os.listdir(self.directory) if os.path.isdir(self.directory) else []:
                if name.startswith(".") and name.endswith("~"):
                    _remove_if_there(os.path.join(self.directory, name))
        except OSError as error:
            _log.warning("What is left of earlier commands cannot be removed: %s", error)

    def set_aside(self, directory: CommandDirectory) -> str:
        """Move what cannot be understood out of the way; give its new place. Raises OSError."""
        make_state_directory(self.layout, self._aside)
        for number in range(1000):
            target = os.path.join(self._aside, f"{directory.key}.{number}" if number else directory.key)
            if not os.path.lexists(target):
                os.rename(directory.path, target)
                return target
        raise RecordError(f"{self._aside} is full of records that were set aside.", remedy="Look at them; delete them.")

    def _finished_file(self, key: str) -> str:
        return os.path.join(self._finished, f"{key}.json")

    def _forget_old(self) -> None:
        """Remove the oldest memories; several workers may do so at the same time."""
        now = time.time()
        with contextlib.suppress(FileNotFoundError), os.scandir(self._finished) as entries:
            # What seems to come from the future is from before the clock was set back, so it is among the oldest.
            times = [(entry.stat().st_mtime, entry.path) for entry in entries if entry.is_file(follow_symlinks=False)]
            known = sorted((mtime if mtime <= now + 1 else 0.0, path) for mtime, path in times)
            # Only every so often, so that the usual case costs one listing.
            if len(known) > FINISHED_KEPT * 5 // 4:
                for _, path in known[:-FINISHED_KEPT]:
                    remove_if_there(path)


def _remove_if_there(directory: str) -> None:
    """Remove a directory; somebody else may be removing it too."""
    for _ in range(3):
        with contextlib.suppress(FileNotFoundError):
            remove_tree(directory)
        if not os.path.lexists(directory):
            return


def new_record(fields: Mapping[str, str], *, now: float) -> CommandRecord:
    """A record of a command that has just come; ``fields`` are the four texts of the service."""
    return CommandRecord(**fields, received_at=now, order=since_boot(), boot_id=boot_id())
