"""Build every new file in a private directory beside its destination, complete with mode, owner and ACL."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence

from agent.filesystem.copying import copy_bytes
from agent.filesystem.directories import Directories, MovedError, by_descriptor
from agent.filesystem.helper_process import HelperProcess, is_worth_a_helper, is_worth_writing_ahead
from agent.filesystem.kernel import Identity
from agent.install import acl
from agent.install.attributes import Attributes, apply_attributes
from agent.install.desired import Entry
from agent.install.host import DIRECTORY, FILE
from agent.install.plan import IN_PLACE, REPLACE, Operation, Plan

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

# What a kernel answers where this object cannot have another name: another user's file, or no hard links here.
_NO_LINKS = frozenset({errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})

Progress = Callable[[int, int], None]


class Stager:
    """Builds the temporary objects of one plan; knows what a new file's owner is without asking the kernel twice."""

    def __init__(
        self,
        plan: Plan,
        directories: Directories,
        progress: Progress | None = None,
        *,
        before: Mapping[str, Identity],
    ) -> None:
        """``before`` tells what the plan found at the paths of its operations; anything else there is an error.

        ``unlinked`` are afterwards the paths whose old object could not be given a second name, ``installed`` the new
        directories.
        """
        self._plan = plan
        self._directories = directories
        self._before = before
        self._progress = progress
        self._done = 0
        self._total = len(plan.nested) + sum(1 for operation in plan.operations if operation.temp)
        self._groups: dict[str, int] = {}
        self.unlinked: set[str] = set()
        self.installed: dict[str, Identity] = {}
        self._uid = os.geteuid()

    @property
    def is_long(self) -> bool:
        """Whether so much is to be built that the disk should write meanwhile. Raises OSError."""
        if is_worth_a_helper(self._total):
            return True
        return is_worth_writing_ahead(
            sum(os.lstat(entry.source).st_size for entry, _ in self._desired() if entry.kind == FILE)
        )

    def run(self) -> None:
        """Build everything. Raises OSError; what was built until then is named by the journal."""
        for stage in self._plan.stages:
            self._make_private(stage)
        with Directories() as self._sources:
            self._build_desired()
        for operation in self._plan.operations:
            if operation.kind == REPLACE:
                self._link_aside(operation)
            elif operation.kind == IN_PLACE:
                self._keep_copy(operation)
        # Here no other account can exchange them, and this one can still enter them all.
        self.installed = {path: self._directories.identity(temp) for path, temp in self._plan.staged.items()}
        self._set_directory_attributes()

    def _build_desired(self) -> None:
        files = []
        for entry, temp in self._desired():
            if entry.kind == FILE:
                files.append((entry, temp))
            else:
                self._build(entry, temp)
                self._report(1)
        self._build_files(files)

    def _make_private(self, stage: str) -> None:
        try:
            self._directories.make_private(stage)
        except OSError as error:
            if not isinstance(error, MovedError):
                # Operators know what is installed there.
                names = ((operation.path, operation.temp or operation.backup) for operation in self._plan.operations)
                error.filename = next(path for path, name in names if os.path.dirname(name) == stage)
            raise

    def _desired(self) -> Iterator[tuple[Entry, str]]:
        """What is to be built, each with its temporary path, and a directory before what it holds."""
        for operation in self._plan.operations:
            if operation.entry is not None and operation.temp:
                yield operation.entry, operation.temp
        yield from self._plan.nested

    def _build_files(self, files: Sequence[tuple[Entry, str]]) -> None:
        """Copy the files, a half of them in a process beside this one where they are many."""
        if not is_worth_a_helper(len(files)):
            self._build_all(files)
            return
        half = len(files) // 2
        with HelperProcess(lambda: self._build_all(files[half:], report=False)) as helper:
            # The other process is about as far, so each file that is done here counts for two.
            self._build_all(files[:half], counted=2)
            helper.join()
        self._report(len(files) % 2)

    def _build_all(self, files: Sequence[tuple[Entry, str]], *, counted: int = 1, report: bool = True) -> None:
        for entry, temp in files:
            try:
                self._copy(entry, temp)
            except OSError as error:
                _name_destination(error, entry)
                raise
            if report:
                self._report(counted)

    def _build(self, entry: Entry, temp: str) -> None:
        try:
            if entry.kind == DIRECTORY:
                self._directories.make(temp, 0o777)
            else:
                self._directories.symlink(os.readlink(entry.source), temp)
        except OSError as error:
            _name_destination(error, entry)
            raise

    def _report(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)

    def _set_directory_attributes(self) -> None:
        """Give new directories their attributes, the innermost first: one may lose the right to be written to."""
        for path in reversed(self._plan.staged):
            attributes = self._plan.attributes.get(path)
            if attributes is not None:
                with self._directories.pinned(self._plan.staged[path]) as pinned:
                    _give(by_descriptor(pinned), attributes, is_directory=True, shown=path)

    def _copy(self, entry: Entry, temp: str) -> None:
        """Copy one file with mode, owner and time, as the official agent keeps them, then apply the permissions."""
        reader = self._open_source(entry)
        try:
            status = os.fstat(reader)
            cut = temp.rfind("/")
            directory = temp[:cut]
            writer = self._directories.create(directory, temp[cut + 1 :])
            try:
                if copy_bytes(reader, writer, status.st_size) != status.st_size:
                    raise OSError(errno.EIO, "The file became shorter while it was copied", entry.source)
                if status.st_uid != self._uid or status.st_gid != self._group_below(directory):
                    os.fchown(writer, status.st_uid, status.st_gid)
                attributes = self._plan.attributes.get(entry.path)
                if attributes is None or attributes.permission.mode is None:
                    os.fchmod(writer, stat.S_IMODE(status.st_mode))
                if attributes is not None:
                    _give(writer, attributes, is_directory=False, shown=entry.path)
                os.utime(writer, ns=(status.st_atime_ns, status.st_mtime_ns))
            finally:
                os.close(writer)
        finally:
            os.close(reader)

    def _open_source(self, entry: Entry) -> int:
        """Open a file of the revision where the plan found it, over no link that was put on the way since."""
        source = entry.source
        cut = source.rfind("/")
        directory = self._sources.open(self._plan.sources[source[:cut]])
        try:
            return os.open(source[cut + 1 :], _READ, dir_fd=directory)
        except OSError as error:
            error.filename = source
            raise

    def _group_below(self, directory: str) -> int:
        """The group of a file that is made in a directory: ours, or the directory's where it is setgid."""
        group = self._groups.get(directory)
        if group is None:
            status = os.fstat(self._directories.open(directory))
            group = status.st_gid if status.st_mode & stat.S_ISGID else os.getegid()
            self._groups[directory] = group
        return group

    def _link_aside(self, operation: Operation) -> None:
        """Keep the old object under its backup name too, where the file system can; else the commit renames it."""
        try:
            self._directories.link_known(operation.path, operation.backup, self._before[operation.path])
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self.unlinked.add(operation.path)

    def _keep_copy(self, operation: Operation) -> None:
        """Copy what will be written over in its place. Raises MovedError where it is another file by now."""
        reader = self._directories.open_file(operation.path, os.O_RDONLY)
        try:
            status = os.fstat(reader)
            if status.st_nlink > 1:
                raise OSError(errno.EMLINK, "The file has other names, which would change with it", operation.path)
            writer = self._directories.create(*os.path.split(operation.backup))
            try:
                copy_bytes(reader, writer, status.st_size)
                os.fchown(writer, status.st_uid, status.st_gid)
                acl.write(writer, acl.read(reader)[0], None)
                os.fchmod(writer, stat.S_IMODE(status.st_mode))
                os.utime(writer, ns=(status.st_atime_ns, status.st_mtime_ns))
            finally:
                os.close(writer)
        finally:
            os.close(reader)


def _name_destination(error: OSError, entry: Entry) -> None:
    """Operators know the destination, not the temporary name, and errors by descriptor name nothing."""
    if error.filename != entry.source:
        error.filename, error.filename2 = entry.path, None


def _give(target: int | str, attributes: Attributes, *, is_directory: bool, shown: str) -> None:
    """Give a new object everything that permissions ask for. Raises OSError, InstallError."""
    apply_attributes(target, attributes, is_directory=is_directory, shown=shown, hidden=True)
    if (context := attributes.context) is not None:
        from agent.install.selinux import label_new  # seldom needed, and a small deployment counts its milliseconds

        label_new(target, context)
