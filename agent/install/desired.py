"""What an AppSpec's ``files`` section wants on the host: every directory, file and link, or every reason why not."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence

from agent.appspec.model import FileMapping, located, place_of
from agent.install.host import DIRECTORY, FILE, LINK, OTHER, HostFiles, Link, View
from agent.install.options import InstallOptions

# A revision with directories linked into each other in many ways unfolds without end; no real one comes near this.
_MAX_ENTRIES = 2_000_000


# A directory of the revision and those that it was reached through, the innermost first.
_Above = tuple[str, "_Above | None"]


class Entry:
    """One thing to install: ``kind`` as in ``host``, ``path`` real, ``source`` absolute (empty for made directories).

    ``shown`` is the path as the AppSpec's words give it, before links on the host are followed; the clean-up list and
    the instructions of the official agents hold that one.
    """

    __slots__ = ("kind", "mapping", "path", "shown", "source")

    def __init__(self, kind: str, path: str, shown: str, source: str, mapping: FileMapping) -> None:
        self.kind = kind
        self.path = path
        self.shown = shown
        self.source = source
        self.mapping = mapping


class Desired:
    """The entries by their real path, in the order in which the official agent makes them, and all problems.

    ``links`` are the host's links that lead to a desired directory, ``source_links`` those that lead to a directory
    that files are copied from. ``sources`` gives the real path of each such directory.
    """

    def __init__(
        self,
        archive: str,
        after: View,
        *,
        cwd: str,
        options: InstallOptions,
        filename: str = "appspec.yml",
        retained: Callable[[str], bool] = lambda path: False,
        reserved: Sequence[str] = (),
    ) -> None:
        """``retained`` tells whether RETAIN keeps what is at a path; then a second source for it is no problem.

        ``reserved`` are the agent's own directories, into which nothing is installed.
        """
        self.entries: dict[str, Entry] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.links: list[Link] = []
        self.source_links: list[Link] = []
        self.sources: dict[str, str] = {}
        self._archive = archive
        self._unpacked = View(HostFiles())
        self._after = after
        self._cwd = cwd
        self._follow = options.follow_directory_symlinks
        self._options = options
        self._filename = filename
        self._retained = retained
        self._reserved = [os.path.realpath(path) for path in reserved]

    def add(self, mappings: Sequence[FileMapping]) -> None:
        """Add what the mappings want; what cannot be is noted in ``problems``. Raises OSError."""
        for mapping in mappings:
            self._add_mapping(mapping)

    def _add_mapping(self, mapping: FileMapping) -> None:
        destination = self._destination(mapping)
        if destination is None:
            return
        source = mapping.source.strip("/") or "."
        path = self._archive if source == "." else os.path.join(self._archive, source)
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            pattern = set("*?[") & set(mapping.source)
            advice = "patterns are not expanded" if pattern else "correct the name, or add it to the revision"
            self._problem(mapping, f"the source {mapping.source!r} is not in the revision; {advice}")
            return
        if stat.S_ISLNK(mode) and os.path.isdir(path):
            mode = stat.S_IFDIR
        kind = (
            DIRECTORY if stat.S_ISDIR(mode) else FILE if stat.S_ISREG(mode) else LINK if stat.S_ISLNK(mode) else OTHER
        )
        if kind == OTHER:
            self._problem(mapping, f"the source {mapping.source!r} is neither a file, a directory nor a link")
        elif kind != DIRECTORY and mapping.source.endswith("/"):
            self._problem(mapping, f"the source {mapping.source!r} is a file; take the slash at its end away")
        elif (root := self._directory(destination, mapping, path)) is not None:
            self._note_source(path if kind == DIRECTORY else os.path.dirname(path))
            if kind == DIRECTORY:
                self._add_contents(path, destination, root, mapping)
            else:
                self._leaf(kind, path, os.path.basename(os.path.normpath(source)), destination, root, mapping)

    def _destination(self, mapping: FileMapping) -> str | None:
        """Return the absolute destination of a mapping whose two names can be used at all."""
        for key, text in (("source", mapping.source), ("destination", mapping.destination)):
            if not _is_name(text):
                self._problem(mapping, f"{text!r} holds a character that no file name can have", key=key)
                return None
            if self._options.reject_path_traversal and _climbs(text):
                setting = "the setting reject_path_traversal_in_bundle is on"
                self._problem(mapping, f"{text!r} climbs out with '..', and {setting}", key=key)
                return None
        if mapping.destination.startswith("~") and os.path.expanduser(mapping.destination).startswith("~"):
            text = f"the home in the destination {mapping.destination!r} is of a user that this host does not have"
            self._problem(mapping, text, key="destination")
            return None
        return expand(mapping.destination, self._cwd)

    def _add_contents(self, source: str, shown: str, root: str, mapping: FileMapping) -> None:
        """Add all that a directory holds to the directory at real path ``root``."""
        waiting: list[tuple[str, str, str, _Above]] = [(source, shown, root, (source, None))]
        while waiting:
            source, shown, root, above = waiting.pop()
            shown_base, root_base = ("" if shown == "/" else shown), ("" if root == "/" else root)
            for name in self._add_leaves(source, shown, root, mapping, above):
                inner_source, inner_shown = f"{source}/{name}", f"{shown_base}/{name}"
                inner = self._made(inner_shown, f"{root_base}/{name}", mapping, inner_source)
                if inner_source not in self.sources:
                    self.sources[inner_source] = f"{self.sources[source]}/{name}"
                if inner is not None:
                    waiting.append((inner_source, inner_shown, inner, (inner_source, above)))

    def _add_leaves(self, source: str, shown: str, root: str, mapping: FileMapping, above: _Above) -> list[str]:
        """Add the files and links of one directory; give the names of its directories."""
        directories = []
        with os.scandir(source) as found:
            for item in found:
                if item.is_symlink():
                    if self._is_directory_link(item, mapping, above):
                        directories.append(item.name)
                    else:
                        self._leaf(LINK, item.path, item.name, shown, root, mapping)
                elif item.is_dir(follow_symlinks=False):
                    directories.append(item.name)
                elif item.is_file(follow_symlinks=False):
                    self._leaf(FILE, item.path, item.name, shown, root, mapping)
                else:
                    self._problem(
                        mapping, f"{item.path} is neither a file, a directory nor a link and cannot be installed"
                    )
        return directories

    def _is_directory_link(self, item: os.DirEntry[str], mapping: FileMapping, above: _Above) -> bool:
        """Tell whether a link is installed as the directory it leads to, as the official agents do it."""
        try:
            if not self._follow or not item.is_dir():
                return False
        except OSError:
            return False  # a link in a circle with itself: it is installed as it is
        target = item.stat()
        directory: _Above | None = above
        while directory is not None:
            path, directory = directory
            status = os.stat(path)
            if (target.st_dev, target.st_ino) == (status.st_dev, status.st_ino):
                text = f"{item.path} leads back to a directory that it is in; it is installed as a link."
                self.warnings.append(f"{self._at(mapping)}: {text}")
                return False
        self._note_source(item.path)
        return True

    def _note_source(self, directory: str) -> None:
        """Note where a directory of the revision really is, and all links on the way to it.

        Who owns one may have put it there after the bundle was unpacked, so what is judged is what is copied from.
        """
        self.sources[directory] = self._unpacked.resolve(directory)
        self.source_links += self._unpacked.links(directory)

    def _leaf(self, kind: str, source: str, name: str, shown: str, root: str, mapping: FileMapping) -> None:
        path = f"{root}/{name}" if root != "/" else f"/{name}"
        # The directory was looked at when it was desired; there can be very many leaves.
        if path in self._reserved and self._is_reserved(path, path, mapping):
            return
        other = self.entries.get(path)
        if other is not None:
            if other.kind != DIRECTORY and self._retained(path):
                return
            what = "makes a directory there" if other.kind == DIRECTORY else f"installs {other.source} there"
            self._problem(
                mapping,
                f"{source} cannot be installed at {path}: {self._at(other.mapping)} {what} already; remove one of"
                " the two from the files section",
            )
            return
        self._add(Entry(kind, path, f"{shown}/{name}" if shown != "/" else f"/{name}", source, mapping))

    def _directory(self, shown: str, mapping: FileMapping, source: str) -> str | None:
        """Want a destination directory and its missing parents; give its real path, or None where it cannot be."""
        root: str | None = "/"
        path = ""
        for name in shown.split("/")[1:]:
            if root is None or not name:
                break
            path = f"{path}/{name}"
            root = self._made(path, f"{'' if root == '/' else root}/{name}", mapping, source)
        return root

    def _made(self, shown: str, real: str, mapping: FileMapping, source: str) -> str | None:
        """Want one directory whose parent is known; give its real path, following a link that stands there."""
        if self._is_reserved(real, shown, mapping):
            return None
        other = self.entries.get(real)
        if other is not None:
            if other.kind == DIRECTORY:
                return real
            self._problem(
                mapping,
                f"{source} needs a directory at {real}, where {self._at(other.mapping)} installs {other.source};"
                " remove one of the two from the files section",
            )
            return None
        kind = self._after.kind(real)
        if kind is None:
            self._add(Entry(DIRECTORY, real, shown, "", mapping))
            return real
        if kind == DIRECTORY:
            return real
        if kind == LINK and (target := self._led_to(real)) is not None:
            return None if self._is_reserved(target, shown, mapping) else target
        state = "a symbolic link that leads to no directory" if kind == LINK else f"a {kind}"
        self._problem(
            mapping,
            f"{source} needs a directory at {shown}, but there is {state}. Remove it (a BeforeInstall script can), or"
            " choose another destination; no file_exists_behavior replaces a file by a directory",
            key="destination",
        )
        return None

    def _is_reserved(self, real: str, shown: str, mapping: FileMapping) -> bool:
        """Note a problem where a real path is one of the agent's own directories or lies in one."""
        own = next((own for own in self._reserved if f"{real}/".startswith(f"{own}/")), None)
        if own is not None:
            self._problem(
                mapping,
                f"nothing may be installed at {shown}, for the agent keeps its own files in {own}; choose another"
                " destination",
                key="destination",
            )
        return own is not None

    def _led_to(self, link: str) -> str | None:
        """Return the real path of the directory that a link on the host leads to, if there is or will be one."""
        try:
            target = self._after.resolve(link)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return None
        desired = self.entries.get(target)
        # A file that is desired where a directory stands is refused elsewhere, or left out by RETAIN: the directory
        # stays.
        is_directory = self._after.kind(target) == DIRECTORY or (desired is not None and desired.kind == DIRECTORY)
        if not is_directory:
            return None
        self.links += self._after.links(link)
        return target

    def _add(self, entry: Entry) -> None:
        self.entries[entry.path] = entry
        if len(self.entries) > _MAX_ENTRIES:
            raise OSError(errno.E2BIG, f"The revision unfolds to more than {_MAX_ENTRIES} entries", self._archive)

    def _problem(self, mapping: FileMapping, text: str, *, key: str = "source") -> None:
        self.problems.append(f"{self._at(mapping, key)}: {text}.")

    def _at(self, mapping: FileMapping, key: str = "source") -> str:
        return located(self._filename, place_of(mapping, key))


def expand(path: str, cwd: str) -> str:
    """Return the absolute, tidied form of a path in an AppSpec: ``~`` is the home, relative is below ``cwd``.

    An empty path is the root directory, as the official agent has it.
    """
    if path.startswith("/") and "//" not in path and "/." not in path and not path.endswith("/"):
        return path  # tidy as it is, as most are; a revision can name thousands
    if path.startswith("~"):
        path = os.path.expanduser(path)
    elif not path:
        path = "/"
    real = os.path.normpath(os.path.join(cwd, path))
    return real[1:] if real.startswith("//") else real


def _is_name(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _climbs(path: str) -> bool:
    depth = 0
    for part in path.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            return True
    return False
