"""The one way in which anything is written below a staging directory, whatever it came from.

Why nothing can be written outside: the staging directory is new, ours and closed to others (0700), so what is in it
is what this class made. It keeps a record of every directory and every symbolic link that it made. An entry is
created only in a directory of that record, opened by its path of directories; a symbolic link is never followed by the
kernel, it is looked up in the record; a file is always created anew (O_EXCL), never opened, so an older file,
link or hard link of that name cannot be written through. Names must be clean (see ``names.clean``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.bundle.files import FileMaker, Owner
from agent.bundle.names import LONGEST_NAME, entry_error, resolve, shown_name
from agent.bundle.space import Space
from agent.errors import BundleError
from agent.filesystem.helper_process import is_worth_a_helper

if TYPE_CHECKING:
    from agent.bundle.helper_writer import HelperWriter

DEFAULT_DIRECTORY_MODE = 0o755
"""The mode of a directory where the bundle states none; the umask takes from it.

Whatever the umask is, no other account may exchange what root will run.
"""

_SETUID_OR_SETGID = 0o6000

# Parts of paths that are walked in the record because of links: at all, and for each entry. Links that lead through
# links make a long way of a short name.
_STEPS_BASE, _STEPS_FOR_ENTRY = 100_000, 100

# Names of directories and links are all that is remembered; archives made to fill the memory with them end here.
_RECORD_LIMIT = 64 * 1024 * 1024


class TreeWriter:
    """Makes directories, files and links below an open, empty directory that nobody else can enter.

    ``umask`` is for directories that no entry describes. ``reject_setuid`` and ``reject_links`` refuse such entries.
    Modes are exact; an owner of None and a time of None leave what a new file has. Every method raises BundleError
    for an entry that cannot be, and OSError for what the system refuses; ``current`` is then the entry's name.
    """

    def __init__(
        self, top: int, *, archive: str, space: Space, umask: int, reject_setuid: bool, reject_links: bool
    ) -> None:
        self.current = b""
        self.made = 0
        self.links: dict[bytes, bytes] = {}
        self._files = FileMaker(top, umask)
        self._helper: HelperWriter | None = None
        self._top = top
        self._archive = archive
        self._space = space
        self._umask = umask
        self._reject_setuid = reject_setuid
        self._reject_links = reject_links
        self._directories: dict[bytes, tuple[int, Owner | None, int | None] | None] = {b"": None}
        self._record_size = 0
        self._entries = self._steps = 0
        self._directory: bytes | None = None
        self._real = b""

    def close(self) -> None:
        self._files.close()
        self._directory = None

    @contextmanager
    def helped(self, entries: int) -> Iterator[None]:
        """Have a helper process make a part of the small files where about so many entries come; all at its end.

        Raises BundleError, OSError. Enter it before any thread is started.
        """
        if not is_worth_a_helper(entries):
            yield
            return
        from agent.bundle.helper_writer import HelperWriter  # it costs start-up time, and small bundles do without

        try:
            with HelperWriter(self._files) as self._helper:
                yield
                self._helper.finish()
        except OSError as error:
            # What went wrong in the helper process names the entry there, whichever this one was at.
            if isinstance(error.filename, str):
                self.current = os.fsencode(error.filename)
            raise
        finally:
            self._helper = None

    def pass_over(self, size: int, *, packed: int) -> None:
        """Count bytes that became nothing, in an archive of ``packed`` bytes. Raises BundleError."""
        self._space.pass_over(size, packed=packed, entries=self.made)

    def leads_out(self, name: bytes, links: Mapping[bytes, bytes]) -> bool:
        """Tell whether a name leads out of the tree or round in a circle by ``links``. Raises BundleError."""
        self.current = name
        return resolve(links, name, self._step) is None

    def take_room(self, size: int) -> None:
        """Ask for room for bytes that no entry announced. Raises BundleError."""
        self._space.take(size)

    def write_file(
        self, name: bytes, data: bytes | memoryview, mode: int, owner: Owner | None, mtime: int | None
    ) -> None:
        """Make a file of these bytes. ``mtime`` is in nanoseconds."""
        leaf = self._admit(name, len(data), mode)
        if self._helper is not None:
            real = self._real_name(leaf)
            is_free = real not in self._directories and real not in self.links
            if is_free and self._helper.give(real, data, mode, owner, mtime):
                self.made += 1
                return
        self._files.write(self._create(name, leaf, mode), data, mode, owner, mtime)

    def fill_file(
        self, name: bytes, size: int, fill: Callable[[int], None], mode: int, owner: Owner | None, mtime: int | None
    ) -> None:
        """Make a file whose content ``fill`` writes to the descriptor it is given; ``size`` is the room it needs."""
        descriptor = self._create(name, self._admit(name, size, mode), mode)
        try:
            fill(descriptor)
            self._files.finalize(descriptor, mode, owner, mtime)
        finally:
            os.close(descriptor)

    def make_directory(self, name: bytes, mode: int, owner: Owner | None, mtime: int | None) -> None:
        """Make a directory, or give one that is there its attributes. They are applied by ``finish``: see there."""
        self.current = name
        if name not in self._directories:
            leaf = self._enter_directory_of(name)
            name = self._real_name(leaf)
            if name not in self._directories:
                self._space.take(0)
                self._replacing(name, leaf, lambda: os.mkdir(leaf, 0o700, dir_fd=self._files.descriptor))
        self._remember(name, (mode, owner, mtime))

    def make_symlink(self, name: bytes, target: bytes, owner: Owner | None, mtime: int | None) -> None:
        """Make a symbolic link; its target may be anything, it is only text."""
        leaf = self._enter_directory_of(name)
        if self._reject_links:
            raise self._refusal(name, f"is a symbolic link (to {shown_name(target)})", "reject_symlinks_in_bundle")
        if not target or b"\0" in target:
            raise entry_error(self._archive, name, "is a symbolic link to nowhere: its target is empty or has a NUL")
        self._space.take(len(target))
        self._replacing(name, leaf, lambda: os.symlink(target, leaf, dir_fd=self._files.descriptor))
        if owner is not None and owner != self._files.own:
            os.chown(leaf, *owner, dir_fd=self._files.descriptor, follow_symlinks=False)
        if mtime is not None:
            os.utime(leaf, ns=(self._files.now, mtime), dir_fd=self._files.descriptor, follow_symlinks=False)
        self._count(len(name) + len(target))
        self.links[self._real_name(leaf)] = target

    def make_hard_link(self, name: bytes, target: bytes) -> None:
        """Make a second name for a file or symbolic link that was made before; ``target`` is a clean name."""
        leaf = self._enter_directory_of(name)
        if self._reject_links:
            raise self._refusal(name, "is a hard link", "reject_symlinks_in_bundle")
        directory, _, last = target.rpartition(b"/")
        real_directory = resolve(self.links, directory, self._step)
        real = b"/".join([real_directory, last]) if real_directory else last
        if not target or real_directory not in self._directories or real in self._directories:
            raise self._missing_link_target(name, target)
        self._wait_for(real)
        try:
            if real == self._real_name(leaf):
                os.stat(real, dir_fd=self._top, follow_symlinks=False)
            else:
                self._space.take(0)
                self._replacing(name, leaf, lambda: self._link(real, leaf))
        except FileNotFoundError as error:
            raise self._missing_link_target(name, target) from error
        if real in self.links:
            self.links[self._real_name(leaf)] = self.links[real]

    def finish(self) -> None:
        """Give all directories their modes, owners and times.

        This comes last, and a directory after what is in it, because writing into a directory changes its time, and
        because its mode may forbid to write or its owner be somebody else. The top directory gets its owner only: its
        mode is the caller's business.
        """
        self.close()
        for name in sorted(self._directories, reverse=True):
            self.current = name
            attributes = self._directories[name]
            mode, owner, mtime = attributes or (DEFAULT_DIRECTORY_MODE & ~self._umask, None, None)
            if owner is not None and owner != self._files.own:
                os.chown(name or b".", *owner, dir_fd=self._top, follow_symlinks=False)
            if name:
                os.chmod(name, mode, dir_fd=self._top)
                if mtime is not None:
                    os.utime(name, ns=(self._files.now, mtime), dir_fd=self._top)

    def _admit(self, name: bytes, size: int, mode: int) -> bytes:
        """Enter the directory of a file that may be made; give the file's own name."""
        leaf = self._enter_directory_of(name)
        if mode & _SETUID_OR_SETGID and self._reject_setuid:
            what = f"would run with the rights of its owner or group (mode {mode:04o})"
            raise self._refusal(name, what, "reject_unsafe_permissions_in_bundle")
        self._space.take(size)
        return leaf

    def _create(self, name: bytes, leaf: bytes, mode: int) -> int:
        try:
            descriptor = self._files.create(leaf, mode)
        except FileExistsError:
            self._make_way(name, leaf)
            descriptor = self._files.create(leaf, mode)
        self.made += 1
        return descriptor

    def _enter_directory_of(self, name: bytes) -> bytes:
        """Open the directory in which an entry belongs, making it where no entry has; give the entry's own name."""
        self.current = name
        self._entries += 1
        if len(name) > LONGEST_NAME:
            raise entry_error(self._archive, name, f"has a name of {len(name)} bytes; {LONGEST_NAME} may be")
        cut = name.rfind(b"/")
        directory = name[:cut] if cut > 0 else b""
        if directory != self._directory:
            real = self._make_directories(directory)
            self._files.enter(real)
            self._directory, self._real = directory, real
        leaf = name[cut + 1 :]
        self._wait_for(self._real_name(leaf))
        return leaf

    def _wait_for(self, real: bytes) -> None:
        if self._helper is not None:
            self._helper.wait_for(real)

    def _make_directories(self, directory: bytes) -> bytes:
        """Make the directories on the way that are missing; give the path without symbolic links."""
        if directory in self._directories:
            return directory
        path = b""
        for part in directory.split(b"/"):
            path = path + b"/" + part if path else part
            if path in self._directories:
                continue
            if path in self.links:
                path = self._through_link(path)
                continue
            self._space.take(0)
            self._wait_for(path)
            try:
                os.mkdir(path, 0o700, dir_fd=self._top)
            except FileExistsError:
                what = f"lies below {shown_name(path)}, which the same archive makes a file"
                raise entry_error(self._archive, self.current, what) from None
            self.made += 1
            self._remember(path, None)
        return path

    def _through_link(self, path: bytes) -> bytes:
        """The directory of the record that a symbolic link leads to: tar writes through such links, so do we."""
        real = resolve(self.links, path, self._step)
        if real is None or real not in self._directories:
            target = shown_name(self.links[path])
            what = f"lies below {shown_name(path)}, which is a symbolic link to {target}, not to a directory in here"
            raise entry_error(self._archive, self.current, what)
        return real

    def _replacing(self, name: bytes, leaf: bytes, make: Callable[[], None]) -> None:
        try:
            make()
        except FileExistsError:
            self._make_way(name, leaf)
            make()
        self.made += 1

    def _make_way(self, name: bytes, leaf: bytes) -> None:
        """Remove what an earlier entry of the same name made: the last one counts, as with tar and unzip."""
        if self._helper is not None:
            # Else the directory could look empty, and a link in its place would lie on the way of a file yet to come.
            self._helper.wait_for_all()
        real = self._real_name(leaf)
        if real in self._directories:
            try:
                os.rmdir(leaf, dir_fd=self._files.descriptor)
            except OSError as error:
                what = "comes twice, first as a directory that holds other entries, then as something else"
                raise entry_error(self._archive, name, what) from error
            del self._directories[real]
        else:
            os.unlink(leaf, dir_fd=self._files.descriptor)
            self.links.pop(real, None)
        self.made -= 1

    def _link(self, real: bytes, leaf: bytes) -> None:
        os.link(real, leaf, src_dir_fd=self._top, dst_dir_fd=self._files.descriptor, follow_symlinks=False)

    def _real_name(self, leaf: bytes) -> bytes:
        return self._real + b"/" + leaf if self._real else leaf

    def _remember(self, name: bytes, attributes: tuple[int, Owner | None, int | None] | None) -> None:
        if name not in self._directories:
            self._count(len(name))
        self._directories[name] = attributes

    def _count(self, size: int) -> None:
        self._record_size += size + 100
        if self._record_size > _RECORD_LIMIT:
            what = "is one directory or link too many: their names alone fill the memory kept for them"
            raise entry_error(self._archive, self.current, what)

    def _step(self, parts: int) -> None:
        self._steps += parts
        if self._steps > _STEPS_BASE + _STEPS_FOR_ENTRY * self._entries:
            what = "leads through links that lead through links: a way so long is only made to cost time"
            raise entry_error(self._archive, self.current, what)

    def _missing_link_target(self, name: bytes, target: bytes) -> BundleError:
        what = f"is a hard link to {shown_name(target)}, and no file of that name comes before it"
        return entry_error(self._archive, name, what)

    def _refusal(self, name: bytes, what: str, setting: str) -> BundleError:
        remedy = (
            f"The agent's setting {setting} refuses that: leave the entry out of the bundle, or change the setting."
        )
        return entry_error(self._archive, name, what, remedy=remedy)
