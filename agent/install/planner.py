"""Working out the plan of an Install: all changes to the host, or all conflicts together."""

from __future__ import annotations

import os

from agent.errors import InstallConflictError
from agent.install.cleanup import plan_cleanup
from agent.install.cleanup_list import other_lists
from agent.install.desired import Desired, Entry
from agent.install.host import DIRECTORY, FILE, LINK, HostFiles, View
from agent.install.plan import (
    CREATE,
    IN_PLACE,
    REMOVE,
    REPLACE,
    RESET,
    SWAP,
    TEMPORARY_PREFIX,
    Operation,
    Plan,
    PlanRequest,
)
from agent.install.planned_permissions import plan_permissions


def make_plan(request: PlanRequest) -> Plan:
    """Work out all changes against the host as it will be after the clean-up of the old files.

    Nothing is changed. Raises InstallConflictError with every conflict unless the plan may have them, OSError where the
    host cannot be read.
    """
    host, mounts = HostFiles(), mount_points()
    cleanup = plan_cleanup(request.old_paths, host, mounts)
    after = View(host, [*cleanup.files, *cleanup.directories])
    desired = Desired(
        request.archive,
        after,
        cwd=request.cwd,
        options=request.options,
        filename=request.appspec.filename,
        retained=lambda path: request.behavior == "RETAIN" and after.followed_kind(path) is not None,
        reserved=request.reserved,
    )
    desired.add(request.appspec.files)
    plan = Plan(
        cleanup,
        request.appspec.permissions,
        desired.entries,
        old_paths=list(request.old_paths),
        warnings=desired.warnings,
    )
    plan.links += desired.links
    conflicts = plan.conflicts = list(desired.problems)
    plan.mounts = mounts
    planner = _Planner(plan, host, after, request)
    for entry in desired.entries.values():
        conflict = planner.add(entry)
        if conflict:
            conflicts.append(conflict)
    conflicts += plan_permissions(plan, request, after)
    plan.sources = desired.sources
    for link in dict.fromkeys([*plan.links, *desired.source_links]):
        request.judge_link(link, os.lstat(link.target))
    if conflicts and not request.tolerant:
        raise InstallConflictError(conflicts)
    planner.finish()
    return plan


class _Planner:
    """Turns desired entries into operations, one after the other."""

    def __init__(self, plan: Plan, host: HostFiles, after: View, request: PlanRequest) -> None:
        self._plan = plan
        self._host = host
        self._after = after
        self._request = request
        self._count = 0
        self._cleared = frozenset(plan.cleanup.directories)
        self._stages: dict[str, str] = {}
        self._mounts = plan.mounts
        self._others: dict[str, frozenset[str]] | None = None

    def add(self, entry: Entry) -> str:
        """Plan one entry; give the conflict that stands in its way, or nothing. Raises OSError."""
        plan = self._plan
        cut = entry.path.rfind("/")
        directory = plan.staged.get(entry.path[:cut])
        if directory is not None:
            temp = directory + entry.path[cut:]
            plan.nested.append((entry, temp))
            plan.recorded.append(entry.shown)
            if entry.kind == DIRECTORY:
                plan.staged[entry.path] = temp
            return ""
        now = self._host.kind(entry.path)
        if now is not None and entry.kind != DIRECTORY and self._after.followed_kind(entry.path) is not None:
            verdict = self._judge_existing(entry, self._after.kind(entry.path))
            if verdict is not None:
                return verdict
        if entry.path in self._mounts and entry.kind == FILE and now == FILE:
            self._add_in_place(entry)
        elif entry.kind == DIRECTORY and now == DIRECTORY:
            plan.operations.append(Operation(RESET, entry.path, entry=entry))
        else:
            self._add_renamed(entry, now)
        plan.recorded.append(entry.shown)
        return ""

    def _judge_existing(self, entry: Entry, kind: str | None) -> str | None:
        """Decide about a file that is in the way: None to go on and replace it, "" to keep it, else the conflict."""
        behavior = self._request.behavior
        if behavior == "RETAIN":
            self._plan.kept.append(entry.path)
            return ""
        found = {DIRECTORY: "a directory", LINK: "a symbolic link"}.get(kind or "", f"a {kind}")
        if behavior == "OVERWRITE" and kind != DIRECTORY:
            return None
        if kind == DIRECTORY and behavior in ("OVERWRITE", "DISALLOW"):
            return (
                f"{entry.path}: a file is to be installed here, but there is a directory, and OVERWRITE replaces none."
                " Remove it, or choose another destination."
            )
        owner = self._owner(entry)
        text = f"{entry.path}: there is {found} already that this deployment group did not install{owner}."
        if behavior == "DISALLOW":
            return (
                f"{text} Set file_exists_behavior to OVERWRITE to replace it or to RETAIN to keep it,"
                " or remove it (a BeforeInstall script can)."
            )
        return f"{text} The file_exists_behavior {behavior!r} is not known: use DISALLOW, OVERWRITE or RETAIN."

    def _owner(self, entry: Entry) -> str:
        """Say which other deployment group lists a path, if one does."""
        for group, paths in self._other_lists().items():
            if entry.shown in paths or entry.path in paths:
                return f"; deployment group {group} did"
        return ""

    def _other_lists(self) -> dict[str, frozenset[str]]:
        if self._others is None:
            self._others = other_lists(self._request.instructions_dir, but=self._request.group)
        return self._others

    def _add_in_place(self, entry: Entry) -> None:
        temp, backup = self._names(entry.path)
        self._plan.operations.append(Operation(IN_PLACE, entry.path, temp=temp, backup=backup, entry=entry))

    def _add_renamed(self, entry: Entry, now: str | None) -> None:
        temp, backup = self._names(entry.path)
        if now is None:
            operation = Operation(CREATE, entry.path, temp=temp, entry=entry)
        else:
            kind = REPLACE if DIRECTORY not in (now, entry.kind) else SWAP
            operation = Operation(kind, entry.path, temp=temp, backup=backup, entry=entry)
        if entry.kind == DIRECTORY:
            self._plan.staged[entry.path] = temp
        self._plan.operations.append(operation)

    def finish(self) -> None:
        """Plan the removal of what the old revision leaves behind, before anything is put in its place."""
        plan, removals = self._plan, []
        for path in plan.cleanup.files:
            if path in plan.entries and path not in plan.kept:
                continue
            if path not in self._mounts:
                removals.append(Operation(REMOVE, path, backup=self._names(path)[1]))
        plan.operations[:0] = removals
        staying = [path for path in plan.cleanup.mounted if path not in plan.entries or path in plan.kept]
        for path in staying:
            if path in self._mounts:
                plan.warnings.append(f"{path} is a mount point and cannot be removed; it stays, and stays listed.")
            # Before what it holds: the list is worked off backwards.
            place = (at for at, other in enumerate(plan.recorded) if other.startswith(f"{path}/"))
            plan.recorded.insert(next(place, len(plan.recorded)), path)
        swapped = tuple(f"{operation.path}/" for operation in plan.operations if operation.kind == SWAP)
        for path in plan.cleanup.directories:
            # What lies in a directory that is swapped out goes with it; its name may lead elsewhere by then.
            if path not in plan.entries and path not in staying and not path.startswith(swapped):
                plan.obsolete.append(path)

    def _names(self, path: str) -> tuple[str, str]:
        """Name the temporary object and the backup, which lie in a private directory beside the path.

        In that directory a new object inherits what it would inherit beside the path (setgid, a default ACL, a label).
        It is not in a directory that the old revision leaves, because that is about to be removed or made as new.
        """
        self._count += 1
        directory = path[: path.rfind("/")]
        while directory in self._cleared and directory not in self._mounts:
            directory = directory[: directory.rfind("/")]
        stage = self._stages.get(directory)
        if stage is None:
            number = len(self._stages) + 1
            stage = self._stages[directory] = f"{directory}/{TEMPORARY_PREFIX}{self._request.token}-{number}~"
            self._plan.stages.append(stage)
        return f"{stage}/{self._count}.new", f"{stage}/{self._count}.old"


def mount_points() -> frozenset[str]:
    """The paths that something is mounted on; a name among them can be neither renamed nor removed (EBUSY)."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            fields = [line.split(" ")[4] for line in table]
    except (OSError, IndexError):
        return frozenset()
    for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        fields = [text.replace(code, sign) for text in fields]
    return frozenset(fields)
