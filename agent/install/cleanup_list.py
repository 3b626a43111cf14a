"""The clean-up list of a deployment group: which paths its next Install removes first.

One path a line, folders before what they hold, in the file ``<group>-cleanup`` that the official agents
write and read too, so that a host can change agents between two deployments. Some names cannot stand in that
format (with a newline in it a reader would see two other paths, and blanks at the ends are stripped): these are
kept in a file of our own, bound to the list they belong to by its digest, so that a list which another agent
has written since never meets stale names.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from agent.filesystem.durable import make_folder, remove_if_there, sync_folder, write_durably

_log = logging.getLogger(__name__)

# What Ruby's strip takes away; 2.x trims more, which is why _is_odd() keeps all such names out of the list.
_BLANKS = " \t\n\v\f\r\0"

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
    """Give the text of a list; names that the format cannot hold are left out."""
    lines = [path for path in paths if not _is_odd(path)]
    return os.fsencode("\n".join(lines) + "\n") if lines else b""


def decode(content: bytes) -> list[str]:
    """Read the paths of a list in its order, by the official agents' rules.

    A last line without its newline was being written when its writer died, and does not count. Lines that are no
    absolute path, or climb, are left out: nothing that an agent wrote looks so.
    """
    paths, left_out = [], []
    for line in os.fsdecode(content).split("\n")[:-1]:
        path = line.strip(_BLANKS)
        name = path.removeprefix(SEMANAGE_PREFIX)
        if name.startswith("/") and "\0" not in name and "/../" not in name + "/":
            paths.append(path)
        elif path:
            left_out.append(path)
    for path in left_out[:_LEFT_OUT_SHOWN]:
        _log.warning("A line of the clean-up list is no absolute path and is left out: %r", path[:200])
    if len(left_out) > _LEFT_OUT_SHOWN:
        _log.warning("So are %d more lines of it", len(left_out) - _LEFT_OUT_SHOWN)
    return paths


def other_lists(folder: str, *, but: str) -> dict[str, frozenset[str]]:
    """Give the paths that the lists of all other groups in a folder name; what cannot be read is left out."""
    lists = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        group = name.removesuffix("-cleanup")
        if group not in (name, but):
            lists[group] = frozenset(CleanupFile(os.path.join(folder, name), "").paths())
    return lists


def _is_odd(path: str) -> bool:
    return path != path.strip() or "\n" in path


class CleanupFile(NamedTuple):
    """The list of one group on disk: ``path`` the official file, ``extra`` ours for the names it cannot hold."""

    path: str
    extra: str
    mode: int = 0o644

    def content(self) -> bytes | None:
        """Give the raw content, or None where there is no list. Raises OSError.

        A list that somebody else could have written is not followed, because its lines are removed by root: it must be
        a regular file of this user or root that not everybody may write to, and is otherwise left out with a warning.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("The clean-up list %s cannot be used and is left out: %s", self.path, error.strerror)
            return None
        status = os.fstat(descriptor)
        trusted = status.st_uid in (0, os.geteuid()) and not status.st_mode & stat.S_IWOTH
        if stat.S_ISREG(status.st_mode) and trusted:
            with os.fdopen(descriptor, "rb") as file:
                return file.read()
        os.close(descriptor)
        _log.warning(
            "The clean-up list %s is not a regular file that only this user writes, and is left out", self.path
        )
        return None

    def paths(self) -> list[str]:
        """Give all paths of the list, odd names too, folders before what they hold. Raises OSError."""
        content = self.content()
        paths = decode(content or b"")
        for odd in self.odd_paths(content):
            # Before what it holds: the list is worked off backwards.
            place = next((at for at, path in enumerate(paths) if path.startswith(f"{odd}/")), len(paths))
            paths.insert(place, odd)
        return paths

    def odd_paths(self, content: bytes | None) -> list[str]:
        """Give the names that belong to a list of this content but cannot stand in it. Raises OSError."""
        odd = self._read_extra().get(digest(content), [])
        return [path for path in odd if isinstance(path, str) and path.startswith("/")]

    def write(self, paths: Sequence[str], *, keep: Sequence[str] = ()) -> bytes:
        """Replace the list durably and give its content. Raises OSError.

        ``keep`` are digests of lists that may still be on the disk when this is interrupted.
        """
        content = encode(paths)
        self._write_extra(content, [path for path in paths if _is_odd(path)], keep)
        write_durably(self.path, content, mode=self.mode)
        return content

    def restore(self, content: bytes | None, *, odd: Sequence[str]) -> None:
        """Put an earlier content and its odd names back, durably. Raises OSError."""
        if content is not None:
            write_durably(self.path, content, mode=self.mode)
        elif remove_if_there(self.path):
            sync_folder(os.path.dirname(self.path))
        self._write_extra(content, list(odd), ())

    def _read_extra(self) -> dict[str, list[str]]:
        try:
            with open(self.extra, "rb") as file:
                table = json.loads(file.read())
        except (FileNotFoundError, PermissionError):
            return {}
        except ValueError:
            _log.warning("The file %s cannot be read and is left out", self.extra)
            return {}
        pairs = table.items() if isinstance(table, dict) else ()
        return {name: paths for name, paths in pairs if isinstance(paths, list)}

    def _write_extra(self, content: bytes | None, odd: list[str], keep: Sequence[str]) -> None:
        before = self._read_extra()
        table = {name: before[name] for name in keep if name in before}
        if odd:
            table[digest(content)] = odd
        if table:
            make_folder(os.path.dirname(self.extra), mode=0o700)
            write_durably(self.extra, json.dumps(table).encode("ascii"), mode=0o600)
        elif before:
            remove_if_there(self.extra)
