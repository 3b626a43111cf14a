"""The journal of an Install: what it is about to do, on the disk before it does it.

All operations are known before the first change, so the journal is written whole, once, with a single sync; after
that only a few marks are appended. Recovery needs nothing else: which operations have happened is read from the
temporary and backup names on the host. The journal also says which object each name stands for; recovery touches no
other.

    begun      -> the host is untouched, but temporary files may lie about
    staged     -> every temporary file and backup is on the disk; names may have been exchanged
    committed  -> the new revision stands; only temporary names remain to be removed
    reverting  -> going back has been decided, also where writing "committed" has failed half-way
    reverted   -> every name is back; only temporary files remain to be removed
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from agent.filesystem.durable import append_durably, remove_if_there, sync_directory, write_durably
from agent.filesystem.kernel import Identity

VERSION = 2
_READABLE = (1, VERSION)  # the first knew no identities
STAGED = "staged"
COMMITTED = "committed"
REVERTING = "reverting"
REVERTED = "reverted"


class InstallStep(NamedTuple):
    """One operation as the journal keeps it.

    ``old`` is the earlier metadata of a directory that is reset, ``before`` the object that was at the path, ``made``
    the inode of the new one; None and 0 where there is none, or an older agent has not written it down.
    """

    kind: str
    path: str
    temp: str = ""
    backup: str = ""
    old: dict[str, object] | None = None
    before: Identity | None = None
    made: int = 0


class InstallRecord(NamedTuple):
    """Everything that is needed to go back or forward.

    ``cleanup_before`` and ``cleanup_after`` are the clean-up lists as found (None for none) and of the new revision;
    ``odd_before`` are names that belong to the first but cannot stand in it. ``digests`` name the contents of the list
    "before" and of the one "during" the Install, which is like no other, to notice another agent's hand.
    ``obsolete_rules`` are SELinux rules of the old revision, ``rules`` those that are added, with what they replace.
    ``directories`` are all that hold a name of the Install, as they were in the boot ``boot``; those that something was
    mounted on are ``mounted`` too. ``stages`` are the private directories for temporary names. ``installed`` are the
    new directories, by the paths that they get; known from the mark "staged" on.
    """

    group: str
    deployment_dir: str
    digests: Mapping[str, str]
    steps: Sequence[InstallStep] = ()
    obsolete: Sequence[str] = ()
    cleanup_before: str | None = None
    odd_before: Sequence[str] = ()
    cleanup_after: Sequence[str] = ()
    rules: Sequence[dict[str, object]] = ()
    obsolete_rules: Sequence[str] = ()
    boot: str = ""
    directories: Mapping[str, Identity] = {}
    mounted: Sequence[str] = ()
    stages: Sequence[str] = ()
    installed: Mapping[str, Identity] = {}
    marks: Sequence[str] = ()
    version: int = VERSION


class JournalDamagedError(Exception):
    """The journal's text is not one that this program wrote whole."""


class Journal(NamedTuple):
    """The journal file of one deployment group."""

    path: str

    @property
    def group(self) -> str:
        """The deployment group that the journal is of."""
        return os.path.basename(self.path).removesuffix(".journal")

    def begin(self, record: InstallRecord) -> None:
        """Write the record durably, before the first change. Raises OSError."""
        table = record._replace(marks=())._asdict()
        write_durably(self.path, (json.dumps(table) + "\n").encode("ascii"), mode=0o600)

    def mark(self, word: str, *, made: Sequence[int] = (), installed: Mapping[str, Identity] | None = None) -> None:
        """Add a mark durably, with the inode of each step's new object and the directories made. Raises OSError."""
        table = {"made": made, "installed": installed or {}}
        line = f"{json.dumps(table, separators=(',', ':'))}\n" if made else ""
        # The leading newline ends whatever part of an earlier mark a failed write may have left.
        append_durably(self.path, f"\n{line}{word}\n".encode("ascii"))

    def read(self) -> InstallRecord | None:
        """Return the record with its marks, or None where nothing is open. Raises OSError, JournalDamagedError."""
        try:
            with open(self.path, "rb") as file:
                first, *rest = file.read().split(b"\n")
        except FileNotFoundError:
            return None
        try:
            table = json.loads(first)
            if table["version"] not in _READABLE:
                raise ValueError(f"it has version {table['version']}, this program reads {VERSION}")
            # What follows the last newline is a mark that was being written at a power cut: it does not count.
            lines = [line.decode("ascii", "replace") for line in rest[:-1] if line]
            table["marks"] = [line for line in lines if not line.startswith("{")]
            # Where the disk was full, a part of it may stand before a later mark.
            tables = (line for line, word in pairwise(lines) if line.startswith("{") and word == STAGED)
            built: dict[str, Any] = json.loads(next(tables, "{}"))
            made = built.get("made", [0] * len(table["steps"]))
            table["steps"] = [_step(values, inode) for values, inode in zip(table["steps"], made, strict=True)]
            table["directories"] = _identities(table.get("directories", {}))
            table["installed"] = _identities(built.get("installed", {}))
            record = InstallRecord(**table)
        except (ValueError, TypeError, KeyError) as error:
            raise JournalDamagedError(f"{self.path}: {error}") from error
        return record

    def end(self) -> None:
        """Close the journal: nothing is left to do. Raises OSError."""
        remove_if_there(self.path)
        sync_directory(os.path.dirname(self.path))

    def set_aside(self) -> str:
        """Rename a journal that cannot be used; give its new name. Raises OSError."""
        aside = f"{self.path}.set-aside"
        os.rename(self.path, aside)
        sync_directory(os.path.dirname(self.path))
        return aside


def _identities(table: Mapping[str, Sequence[Any]]) -> dict[str, Identity]:
    return {path: Identity(*values) for path, values in table.items()}


def _step(values: Sequence[Any], made: int) -> InstallStep:
    step = InstallStep(*values)
    return step._replace(before=None if step.before is None else Identity(*step.before), made=made)


def open_journals(directory: str) -> Iterable[Journal]:
    """Return the journals that lie in a directory, by their names. Raises OSError other than "not there"."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    return [Journal(os.path.join(directory, name)) for name in names if name.endswith(".journal")]
