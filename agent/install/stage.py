"""Build every new file beside its destination, under a temporary name, complete with mode, owner and ACL."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence

from agent.filesystem.copying import copy_bytes
from agent.filesystem.hands import Hand, is_worth_a_hand, is_worth_writing_ahead
from agent.install import acl
from agent.install.attributes import Attributes, apply_attributes
from agent.install.host import FILE, FOLDER, LINK
from agent.install.plan import IN_PLACE, REPLACE, Operation, Plan
from agent.install.wanted import Entry

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW

# What a kernel answers where this object cannot have another name: another user's file, or no hard links here.
_NO_LINKS = frozenset({errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})

Progress = Callable[[int, int], None]


class Stager:
    """Builds the temporary objects of one plan; knows what a new file's owner is without asking the kernel twice."""

    def __init__(self, plan: Plan, progress: Progress | None) -> None:
        self._plan = plan
        self._progress = progress
        self._done = 0
        self._total = len(plan.nested) + sum(1 for operation in plan.operations if operation.temp)
        self._groups: dict[str, int] = {}
        self._uid = os.geteuid()

    @property
    def is_long(self) -> bool:
        """Whether so much is to be built that the disk should write meanwhile. Raises OSError."""
        if is_worth_a_hand(self._total):
            return True
        return is_worth_writing_ahead(
            sum(os.lstat(entry.source).st_size for entry, _ in self._wanted() if entry.kind == FILE)
        )

    def run(self) -> None:
        """Build everything. Raises OSError; what was built until then is named by the journal."""
        files = []
        for entry, temp in self._wanted():
            if entry.kind == FILE:
                files.append((entry, temp))
            else:
                self._build(entry, temp)
                self._report(1)
        self._build_files(files)
        for operation in self._plan.operations:
            if operation.kind == REPLACE:
                _link_aside(operation)
            elif operation.kind == IN_PLACE:
                self._copy(operation.path, operation.backup, None, operation.path)
                acl.write(operation.backup, acl.read(operation.path)[0], None)
        self._settle_folders()

    def _wanted(self) -> Iterator[tuple[Entry, str]]:
        """What is to be built, each with its temporary path, and a folder before what it holds."""
        for operation in self._plan.operations:
            if operation.entry is not None and operation.temp:
                yield operation.entry, operation.temp
        yield from self._plan.nested

    def _build_files(self, files: Sequence[tuple[Entry, str]]) -> None:
        """Copy the files, a half of them in a process beside this one where they are many."""
        if not is_worth_a_hand(len(files)):
            self._build_all(files)
            return
        half = len(files) // 2
        with Hand(lambda: self._build_all(files[half:], report=False)) as hand:
            # The other process is about as far, so each file that is done here counts for two.
            self._build_all(files[:half], counted=2)
            hand.join()
        self._report(len(files) % 2)

    def _build_all(self, files: Sequence[tuple[Entry, str]], *, counted: int = 1, report: bool = True) -> None:
        for entry, temp in files:
            self._build(entry, temp)
            if report:
                self._report(counted)

    def _build(self, entry: Entry, temp: str) -> None:
        try:
            if entry.kind == FOLDER:
                os.mkdir(temp)
            elif entry.kind == LINK:
                os.symlink(os.readlink(entry.source), temp)
            else:
                self._copy(entry.source, temp, self._plan.attributes.get(entry.path), entry.path)
        except OSError as error:
            # Operators know the destination, not the temporary name, and errors by descriptor name nothing.
            if error.filename != entry.source:
                error.filename, error.filename2 = entry.path, None
            raise

    def _report(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)

    def _settle_folders(self) -> None:
        """Give new folders their attributes, the innermost first: a folder may lose the right to be written to."""
        for path in reversed(self._plan.staged):
            attributes = self._plan.attributes.get(path)
            if attributes is not None:
                apply_attributes(self._plan.staged[path], attributes, is_directory=True, shown=path)

    def _copy(self, source: str, target: str, attributes: Attributes | None, shown: str) -> None:
        """Copy one file with mode, owner and time, as the official agent keeps them, then apply the permissions."""
        reader = os.open(source, _READ)
        try:
            status = os.fstat(reader)
            writer = os.open(target, _MAKE, 0o600)
            try:
                if copy_bytes(reader, writer, status.st_size) != status.st_size:
                    raise OSError(errno.EIO, "The file became shorter while it was copied", source)
                if status.st_uid != self._uid or status.st_gid != self._group_below(target[: target.rfind("/")]):
                    os.fchown(writer, status.st_uid, status.st_gid)
                os.fchmod(writer, stat.S_IMODE(status.st_mode))
                if attributes is not None:
                    apply_attributes(writer, attributes, is_directory=False, shown=shown)
                os.utime(writer, ns=(status.st_atime_ns, status.st_mtime_ns))
            finally:
                os.close(writer)
        finally:
            os.close(reader)

    def _group_below(self, folder: str) -> int:
        """The group of a file that is made in a folder: ours, or the folder's where it is setgid."""
        group = self._groups.get(folder)
        if group is None:
            status = os.stat(folder or "/")
            group = status.st_gid if status.st_mode & stat.S_ISGID else os.getegid()
            self._groups[folder] = group
        return group


def _link_aside(operation: Operation) -> None:
    """Keep the old object under its backup name too, where the file system can; else the commit renames it."""
    try:
        os.link(operation.path, operation.backup, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
