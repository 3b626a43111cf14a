"""The clean-up list of a deployment group: which paths its next Install removes first.

One path a line, directories before what they hold, in the file ``<group>-cleanup`` that the official agents write and
read too, so that a host can change agents between two deployments. Beside each list that we write, a file of our own
says that it is ours, by the list's digest, and keeps names that the format cannot hold: a name with a line end would
be two other paths, and spaces at its ends are stripped.

A list without such a proof was written, or extended, by another agent. Its lines may be parts of names, so only those
count that the group's instructions, ``<group>-install.json``, name too.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeGuard

from agent.filesystem.durable import remove_if_there, replace, sync_directory, write_durably
from agent.filesystem.kernel import Identity

_log = logging.getLogger(__name__)

# What Ruby's strip takes away; 2.x trims more, which is why _is_odd() keeps all such names out of the list.
_SPACES = " \t\n\v\f\r\0"

SEMANAGE_PREFIX = "semanage\0"

_LEFT_OUT_SHOWN = 5


def digest(content: bytes | None) -> str:
    """Name a list's content; a list that is not there has a name of its own.

    Nobody who could forge a content is kept out by this, so two checksums and the length do, which load no library.
    """
    if content is None:
        return "none"
    return f"{len(content)}-{zlib.crc32(content):08x}-{zlib.adler32(content):08x}"


def encode(paths: Iterable[str]) -> bytes:
    """Return the text of a list; names that the format cannot hold are left out."""
    lines = [path for path in paths if not _is_odd(path)]
    return os.fsencode("\n".join(lines) + "\n") if lines else b""


def decode(content: bytes) -> list[str]:
    """Read the paths of a list in its order, by the official agents' rules.

    Lines that are not an absolute path, or climb, are left out: no agent writes such a line.
    """
    lines = [line.strip(_SPACES) for line in _lines(content)]
    _warn(
        "A line of the clean-up list is not an absolute path and is left out",
        [x for x in lines if x and not _is_path(x)],
    )
    return [line for line in lines if _is_path(line)]


def instructed(content: bytes) -> frozenset[str]:
    """Return the names that an Install with these instructions puts into its list. Raises ValueError."""
    table = json.loads(os.fsdecode(content))
    instructions = table.get("instructions") if isinstance(table, dict) else None
    if not isinstance(instructions, list) or not all(isinstance(one, dict) for one in instructions):
        raise ValueError("it does not hold a list of instructions")
    found = [one.get(key) for one in instructions for key in ("directory", "destination")]
    names = {name for name in found if isinstance(name, str)}
    for one in instructions:
        if one.get("type") == "semanage" and isinstance(one.get("file"), str):
            # The official agents list the path with all links in it followed.
            names |= {SEMANAGE_PREFIX + path for path in (one["file"], os.path.realpath(one["file"]))}
    return frozenset(names)


def confirmed(content: bytes, names: frozenset[str]) -> list[str]:
    """Return the paths of another agent's list that are among the names; the others are left alone with a warning."""
    lines, paths, left_alone = _lines(content), [], []
    broken = sorted((name.split("\n") for name in names if "\n" in name), key=len, reverse=True)
    at = 0
    while at < len(lines):
        parts = next((parts for parts in broken if lines[at : at + len(parts)] == parts), lines[at : at + 1])
        at += len(parts)
        line = "\n".join(parts)
        name = line if line in names else line.strip(_SPACES)
        if name in names and _is_path(name):
            paths.append(name)
        elif name:
            left_alone.append(name)
    _warn("The clean-up list names what the Install of the agent that wrote it did not make; it stays", left_alone)
    return paths


def _lines(content: bytes) -> list[str]:
    # A last line without its line end was being written when its writer died, and does not count.
    return os.fsdecode(content).split("\n")[:-1]


def _is_path(line: str) -> bool:
    name = line.removeprefix(SEMANAGE_PREFIX)
    return name.startswith("/") and "\0" not in name and "/../" not in name + "/"


def _warn(text: str, lines: Sequence[str]) -> None:
    for line in lines[:_LEFT_OUT_SHOWN]:
        _log.warning("%s: %r", text, line[:200])
    if len(lines) > _LEFT_OUT_SHOWN:
        _log.warning("%s: %d more lines", text, len(lines) - _LEFT_OUT_SHOWN)


def other_lists(directory: str, *, but: str) -> dict[str, frozenset[str]]:
    """Return the paths that the lists of all other groups in a directory name; what cannot be read is left out."""
    lists = {}
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        group = name.removesuffix("-cleanup")
        if group not in (name, but):
            lists[group] = frozenset(decode(CleanupFile(os.path.join(directory, name), "").content() or b""))
    return lists


def _real(paths: Iterable[str]) -> Iterator[str]:
    """Return the names of a list with the links on the way to them followed."""
    directories: dict[str, str] = {}
    for path in paths:
        if path.startswith(SEMANAGE_PREFIX):
            continue
        cut = path.rfind("/")
        directory = directories.get(path[:cut])
        if directory is None:
            directory = directories[path[:cut]] = os.path.realpath(path[:cut] or "/").rstrip("/")
        yield directory + path[cut:]


def _is_odd(path: str) -> bool:
    return path != path.strip() or "\n" in path


def _read_trusted(path: str, what: str) -> bytes | None:
    """Return a file's content, None where there is none; one that others could have written is left out."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("%s %s cannot be used and is left out: %s", what, path, error.strerror)
        return None
    status = os.fstat(descriptor)
    trusted = status.st_uid in (0, os.geteuid()) and not status.st_mode & stat.S_IWOTH
    if stat.S_ISREG(status.st_mode) and trusted:
        with os.fdopen(descriptor, "rb") as file:
            return file.read()
    os.close(descriptor)
    _log.warning("%s %s is not a regular file that only this user writes, and is left out", what, path)
    return None


def _paths(value: object) -> list[str]:
    return [path for path in value if _can_be_path(path)] if isinstance(value, list) else []


def _can_be_path(value: object) -> TypeGuard[str]:
    if not isinstance(value, str) or not _is_path(value):
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False  # half a character
    return True


def _is_identity(value: object) -> TypeGuard[list[int]]:
    whole = isinstance(value, list) and len(value) == len(Identity._fields)
    return whole and all(isinstance(number, int) for number in value)  # type: ignore[attr-defined]


class CleanupFile(NamedTuple):
    """The list of one group on disk: ``path`` the official file, ``extra`` ours, which says what is ours.

    ``extra`` is a JSON object ``{"lists": {DIGEST: {"odd": [...], "directories": {...}}}}`` with an entry for each list
    that we wrote and that may be on the disk; the directories are those that were installed, with their identities. A
    list of another agent has one with the ``confirmed`` paths while ours installs over it. Earlier versions wrote
    ``{DIGEST: [...]}``, and only for lists with odd names.
    """

    path: str
    extra: str
    mode: int = 0o644

    @property
    def instructions(self) -> str:
        """The file with the instructions of the Install that the list is of."""
        return f"{self.path.removesuffix('-cleanup')}-install.json"

    def content(self) -> bytes | None:
        """Return the raw content, or None where there is no list. Raises OSError.

        A list that somebody else could have written is not followed, because its lines are removed by root: it must be
        a regular file of this user or root that not everybody may write to, and is otherwise left out with a warning.
        """
        return _read_trusted(self.path, "The clean-up list")

    def paths(self) -> list[str]:
        """Return all paths to act upon, odd names too, directories before what they hold. Raises OSError."""
        content = self.content()
        entry = self._entries().get(digest(content))
        if entry is None:
            return self._confirmed_paths(content) if content else []
        if "confirmed" in entry:
            return _paths(entry["confirmed"])
        paths = decode(content or b"")
        for odd in self.odd_paths(content):
            # Before what it holds: the list is worked off backwards.
            place = next((at for at, path in enumerate(paths) if path.startswith(f"{odd}/")), len(paths))
            paths.insert(place, odd)
        return paths

    def odd_paths(self, content: bytes | None) -> list[str]:
        """Return the names that belong to a list of this content but cannot stand in it. Raises OSError."""
        odd = self._entries().get(digest(content), {}).get("odd")
        return [path for path in _paths(odd) if path.startswith("/")]

    def directories(self) -> dict[str, Identity | None]:
        """Return the directories that the list's Install made, None where it is not known which objects they are.

        They are real paths; of those that are not known, some may be no directories. Raises OSError.
        """
        entry = self._entries().get(digest(self.content()), {})
        known = entry.get("directories")
        if not isinstance(known, dict):
            return dict.fromkeys(_real(self.paths()))
        return {path: Identity(*four) for path, four in known.items() if _is_identity(four) and _can_be_path(path)}

    def adopt(self, paths: Sequence[str]) -> None:
        """Note the paths of another agent's list that were confirmed, before its instructions are replaced.

        Should that Install be undone, the list counts as before. Raises OSError.
        """
        content, entries = self.content(), self._entries()
        if content and digest(content) not in entries:
            entries[digest(content)] = {"confirmed": list(paths)}
            self._write_entries(entries)

    def write(
        self,
        paths: Sequence[str],
        *,
        keep: Sequence[str] = (),
        directories: Mapping[str, Identity | None] | None = None,
    ) -> bytes:
        """Replace the list durably and give its content. Raises OSError.

        ``keep`` are digests of lists that may still be on the disk when this is interrupted, ``directories`` those that
        the Install made, None where it has not noted them.
        """
        content = encode(paths)
        entries = self._kept(keep)
        entry: dict[str, object] = {"odd": [path for path in paths if _is_odd(path)]}
        if directories is not None:
            entry["directories"] = {path: one for path, one in directories.items() if one is not None}
        entries[digest(content)] = entry
        self._write_entries(entries)
        write_durably(self.path, content, mode=self.mode)
        return content

    def restore(self, content: bytes | None, *, odd: Sequence[str]) -> None:
        """Put an earlier content and its odd names back, durably. Raises OSError.

        It is ours again only if it was before.
        """
        if content is not None:
            write_durably(self.path, content, mode=self.mode)
        elif remove_if_there(self.path):
            sync_directory(os.path.dirname(self.path))
        entries = self._kept([digest(content)])
        if odd:
            entries.setdefault(digest(content), {})["odd"] = list(odd)
        self._write_entries(entries)

    def _confirmed_paths(self, content: bytes) -> list[str]:
        """Return the paths of another agent's list that its instructions confirm."""
        known = _read_trusted(self.instructions, "The instructions")
        try:
            if known is None:
                raise ValueError("it is missing")
            return confirmed(content, instructed(known))
        except (ValueError, RecursionError) as error:
            _log.warning(
                "Another agent wrote the clean-up list %s, and %s, which would confirm its lines, cannot be used: %s."
                " Nothing that it lists is removed; remove the old revision's files by hand",
                self.path,
                self.instructions,
                error,
            )
            return []

    def _entries(self) -> dict[str, dict[str, object]]:
        """Return what our own file says of each list that is ours, by the list's digest."""
        try:
            with open(self.extra, "rb") as file:
                table = json.loads(file.read())
        except (FileNotFoundError, PermissionError):
            return {}
        except (ValueError, RecursionError):
            _log.warning("The file %s cannot be understood and is left out", self.extra)
            return {}
        if not isinstance(table, dict):
            return {}
        if "lists" not in table:
            return {name: {"odd": odd} for name, odd in table.items() if isinstance(odd, list)}
        lists = table["lists"] if isinstance(table["lists"], dict) else {}
        return {name: entry for name, entry in lists.items() if isinstance(entry, dict)}

    def _kept(self, digests: Sequence[str]) -> dict[str, dict[str, object]]:
        before = self._entries()
        return {name: before[name] for name in digests if name in before}

    def _write_entries(self, entries: Mapping[str, Mapping[str, object]]) -> None:
        if not entries:
            remove_if_there(self.extra)
            return
        directory, text = os.path.dirname(self.extra), json.dumps({"lists": entries}).encode("ascii")
        os.makedirs(directory, mode=0o700, exist_ok=True)
        # These names are nowhere else; a lost proof only makes the list one of another agent's.
        if any(entry.get("odd") or "confirmed" in entry for entry in entries.values()):
            write_durably(self.extra, text, mode=0o600)
            sync_directory(os.path.dirname(directory))
        else:
            replace(self.extra, text, mode=0o600)
