"""The plan of an Install: all changes to the host, as values; ``planner`` works it out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from agent.appspec.model import AppSpec, Permission
from agent.install.cleanup import Cleanup
from agent.install.desired import Entry
from agent.install.host import DIRECTORY, Link
from agent.install.options import InstallOptions

if TYPE_CHECKING:
    from agent.install.attributes import Attributes

CREATE = "create"
REPLACE = "replace"
SWAP = "swap"
IN_PLACE = "in-place"
REMOVE = "remove"
RESET = "reset"
ADJUST = "adjust"

TEMPORARY_PREFIX = ".codedeploy-"


class Operation:
    """One change to a name on the host.

    ``CREATE`` puts ``temp`` (a file, a link or a whole directory) at a free ``path``; ``REPLACE`` puts it over a file
    or link, ``SWAP`` over something of another kind, ``IN_PLACE`` into a file that cannot be renamed over; ``REMOVE``
    takes an old file away; ``RESET`` gives a directory that stays the metadata of a new one; ``ADJUST`` gives
    permissions to an object that is not ours, because an installed link leads to it. ``backup`` is the old object.
    """

    __slots__ = ("backup", "entry", "kind", "path", "temp")

    def __init__(self, kind: str, path: str, *, temp: str = "", backup: str = "", entry: Entry | None = None) -> None:
        self.kind = kind
        self.path = path
        self.temp = temp
        self.backup = backup
        self.entry = entry


class Change(NamedTuple):
    """One line of a plan for a person: ``action`` is create, replace, keep, remove, make-directory, remove-directory or
    permissions."""

    action: str
    path: str
    detail: str = ""


class Plan:
    """Everything that an Install will do; nothing of it has happened yet.

    ``staged`` gives for every new directory the path where it is built, and ``nested`` what is built inside those, each
    with its temporary path; ``stages`` are the private directories that hold all temporary names; ``recorded`` are the
    paths of the new clean-up list in its order; ``attributes`` what permissions ask for, by real path, and ``settings``
    the same in the AppSpec's words and order; ``obsolete`` are old directories to remove if they are empty after the
    commit; ``links`` are the host's links that the plan leads over, ``mounts`` the host's mount points; ``sources``
    gives the real path of each directory of the revision. With ``conflicts`` nothing of it may be carried out.
    """

    def __init__(
        self,
        cleanup: Cleanup,
        permissions: Sequence[Permission],
        entries: dict[str, Entry],
        *,
        old_paths: Sequence[str],
        warnings: Sequence[str],
    ) -> None:
        self.cleanup = cleanup
        self.permissions = permissions
        self.entries = entries
        self.old_paths = old_paths
        self.warnings = list(warnings)
        self.conflicts: list[str] = []
        self.operations: list[Operation] = []
        self.staged: dict[str, str] = {}
        self.nested: list[tuple[Entry, str]] = []
        self.stages: list[str] = []
        self.kept: list[str] = []
        self.recorded: list[str] = []
        self.obsolete: list[str] = []
        self.attributes: dict[str, Attributes] = {}
        self.settings: list[tuple[str, Attributes]] = []
        self.links: list[Link] = list(cleanup.links)
        self.mounts: frozenset[str] = frozenset()
        self.sources: dict[str, str] = {}

    @property
    def changes(self) -> list[Change]:
        """What a person is shown, in the order of the work."""
        return list(_changes(self))

    def listed_meanwhile(self) -> list[str]:
        """The clean-up list while the Install is under way: everything old, new, temporary and kept aside.

        The temporary names come last and directories before what they hold, because the list is worked off backwards.
        """
        names = dict.fromkeys([*self.old_paths, *self.recorded, *self.stages])
        for operation in self.operations:
            names.update(dict.fromkeys(name for name in (operation.temp, operation.backup) if name))
        names.update(dict.fromkeys([temp for _, temp in self.nested]))
        names.update(dict.fromkeys(self._swapped_out()))
        return list(names)

    def _swapped_out(self) -> Iterator[str]:
        """Where the old directories in directories lie once these are kept aside; directories before what they hold."""
        for swap in self.operations:
            if swap.kind == SWAP and swap.entry and swap.entry.kind != DIRECTORY:
                below = f"{swap.path}/"
                for path in reversed(self.cleanup.directories):
                    if path.startswith(below):
                        yield f"{swap.backup}/{path.removeprefix(below)}"


class PlanRequest(NamedTuple):
    """What a plan is made from; ``token`` makes the temporary names unlike any other Install's.

    ``reserved`` are the agent's own directories, into which nothing is installed. ``judge_link`` is told of each link
    that the plan leads over and the status of what it leads to; what it raises ends the planning before any conflict. A
    ``tolerant`` plan may have conflicts.
    """

    appspec: AppSpec
    archive: str
    behavior: str
    cwd: str
    old_paths: Sequence[str]
    group: str
    instructions_dir: str
    token: str
    options: InstallOptions
    reserved: Sequence[str] = ()
    judge_link: Callable[[Link, os.stat_result], None] = lambda link, target: None
    tolerant: bool = False


def _changes(plan: Plan) -> Iterator[Change]:
    for operation in plan.operations:
        entry = operation.entry
        if operation.kind == REMOVE:
            yield Change("remove", operation.path)
        elif entry is not None and operation.kind != RESET:
            action = "create" if operation.kind == CREATE else "replace"
            yield Change("make-directory" if entry.kind == DIRECTORY else action, entry.path, entry.source)
    for entry, _ in plan.nested:
        yield Change("make-directory" if entry.kind == DIRECTORY else "create", entry.path, entry.source)
    for path in plan.kept:
        yield Change("keep", path)
    for path in plan.obsolete:
        yield Change("remove-directory", path)
    for path, attributes in plan.attributes.items():
        yield Change("permissions", path, attributes.describe())
