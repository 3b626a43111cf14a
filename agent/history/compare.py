"""What two unpacked revisions differ in: their files, and what their AppSpecs say."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

from agent.appspec.model import AppSpec, FileMapping, Permission, Script
from agent.errors import AgentError
from agent.filesystem.regular import open_regular
from agent.steps.revision import load_appspec

_PIECE = 1 << 20


class Difference(NamedTuple):
    """Paths relative to the revisions, sorted, and sentences about the AppSpec."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    appspec: tuple[str, ...] = ()


class _Entry(NamedTuple):
    """What is compared of a file: its type, permissions and size, and where a link leads."""

    kind: int
    mode: int
    size: int
    target: str


def compare(old: str, new: str, *, appspecs: tuple[str, str]) -> Difference:
    """Compare two revisions by size and content; ``appspecs`` are the names of their AppSpec files.

    Owners and times are not compared, which unpacking sets. Raises OSError.
    """
    before, after = _entries(old), _entries(new)
    both = before.keys() & after.keys()
    changed = [path for path in both if before[path] != after[path] or not _same_content(old, new, path, before[path])]
    return Difference(
        tuple(sorted(after.keys() - before.keys())),
        tuple(sorted(before.keys() - after.keys())),
        tuple(sorted(changed)),
        tuple(_compare_appspecs(_statements(old, appspecs[0]), _statements(new, appspecs[1]))),
    )


def _entries(top: str) -> dict[str, _Entry]:
    found: dict[str, _Entry] = {}
    os.stat(top)  # a revision that is not there is not an empty one
    for directory, directories, files, descriptor in os.fwalk(top, onerror=_raise):
        links = [name for name in directories if stat.S_ISLNK(os.lstat(os.path.join(directory, name)).st_mode)]
        for name in [*files, *links]:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            is_link = stat.S_ISLNK(status.st_mode)
            target = os.readlink(name, dir_fd=descriptor) if is_link else ""
            path = os.path.relpath(os.path.join(directory, name), top)
            mode = stat.S_IMODE(status.st_mode)
            found[path] = _Entry(stat.S_IFMT(status.st_mode), mode, status.st_size, target)
    return found


def _raise(error: OSError) -> None:
    raise error


def _same_content(old: str, new: str, path: str, entry: _Entry) -> bool:
    return not stat.S_ISREG(entry.kind) or _digest(os.path.join(old, path)) == _digest(os.path.join(new, path))


def _digest(path: str) -> bytes:
    digest = hashlib.sha256()
    with open(open_regular(path, os.O_RDONLY), "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.digest()


def _statements(archive: str, requested: str) -> dict[str, str]:
    """Return what an AppSpec says, by where it says it."""
    try:
        appspec = load_appspec(archive, requested or "appspec.yml")
    except (AgentError, OSError) as error:
        return {"the file": f"cannot be used: {error}"}
    found = {"the file": appspec.filename}
    if appspec.file_exists_behavior is not None:
        found["file_exists_behavior"] = appspec.file_exists_behavior.value
    return found | _listed(appspec)


def _listed(appspec: AppSpec) -> dict[str, str]:
    found: dict[str, str] = {}
    for mapping in appspec.files:
        found[f"files: {_shown(mapping)}"] = ""
    for permission in appspec.permissions:
        found[f"permissions: {_shown(permission)}"] = ""
    for event, scripts in appspec.hooks.items():
        found[f"hooks: {event}"] = "; ".join(map(_shown, scripts)) or "no scripts"
    return found


def _shown(entry: FileMapping | Permission | Script) -> str:
    if isinstance(entry, FileMapping):
        return f"{entry.source} to {entry.destination}"
    skipped = {"line", "places", "object", "location"}
    first = entry.location if isinstance(entry, Script) else entry.object
    fields = {
        name: _value(name, value)
        for name, value in entry._asdict().items()
        if name not in skipped and value != type(entry)._field_defaults.get(name)
    }
    return " ".join([first, *(f"{name}={value}" for name, value in fields.items())])


def _value(name: str, value: Any) -> str:  # noqa: ANN401 - any field of an entry
    if name == "mode":
        return f"{value:04o}"
    if name == "acls":
        return ",".join(f"{'d:' if one.default else ''}{one.tag}:{one.name}:{one.perm}" for one in value)
    if isinstance(value, frozenset):
        return ",".join(sorted(value))
    return ",".join(value) if isinstance(value, tuple) and all(isinstance(one, str) for one in value) else str(value)


def _compare_appspecs(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    lines = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if before is None:
            lines.append(f"added {key}" + (f" = {after}" if after else ""))
        elif after is None:
            lines.append(f"removed {key}" + (f" = {before}" if before else ""))
        elif before != after:
            lines.append(f"changed {key}: {before} -> {after}")
    return lines
