"""What an AppSpec's ``files`` section wants on the host: every folder, file and link, or every reason why not."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from agent.appspec.model import FileMapping
from agent.install.host import FILE, FOLDER, LINK, View

# A revision with folders linked into each other in many ways unfolds without end; no real one comes near this.
_MAX_ENTRIES = 2_000_000


class Entry:
    """One thing to install: ``kind`` as in ``host``, ``path`` real, ``source`` absolute (empty for made folders).

    ``shown`` is the path as the AppSpec's words give it, before links on the host are followed; the clean-up list and
    the instructions of the official agents hold that one.
    """

    __slots__ = ("kind", "line", "path", "shown", "source")

    def __init__(self, kind: str, path: str, shown: str, source: str, line: int) -> None:
        self.kind = kind
        self.path = path
        self.shown = shown
        self.source = source
        self.line = line


class Wanted:
    """The entries by their real path, in the order in which the official agent makes them, and all problems."""

    def __init__(self, archive: str, after: View, *, cwd: str, follow_directory_links: bool, climbing: bool) -> None:
        self.entries: dict[str, Entry] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._archive = archive
        self._after = after
        self._cwd = cwd
        self._follow = follow_directory_links
        self._climbing = climbing

    def add(self, mappings: Sequence[FileMapping]) -> None:
        """Add what the mappings want; what cannot be is noted in ``problems``. Raises OSError."""
        for mapping in mappings:
            self._add_mapping(mapping)

    def _add_mapping(self, mapping: FileMapping) -> None:
        source = mapping.source.strip("/") if mapping.source.strip("/") else "."
        destination = expand(mapping.destination, self._cwd)
        if not self._climbing and (_climbs(mapping.source) or _climbs(mapping.destination)):
            self._problem(
                mapping,
                f"the source {mapping.source!r} or the destination {mapping.destination!r} climbs out with '..', and"
                " the setting reject_path_traversal_in_bundle is on",
            )
            return
        path = self._archive if source == "." else os.path.join(self._archive, source)
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode) and os.path.isdir(path):
                mode = stat.S_IFDIR
        except (FileNotFoundError, NotADirectoryError):
            self._problem(
                mapping, f"the source {mapping.source!r} is not in the revision; patterns are not expanded here"
            )
            return
        if stat.S_ISDIR(mode):
            root = self._folder(destination, mapping, path)
            if root is not None:
                self._add_contents(path, destination, root, mapping.line, [])
        elif mapping.source.endswith("/"):
            self._problem(mapping, f"the source {mapping.source!r} is a file; take the slash at its end away")
        elif (root := self._folder(destination, mapping, path)) is not None:
            name = os.path.basename(os.path.normpath(source))
            self._leaf(FILE if stat.S_ISREG(mode) else LINK, path, name, destination, root, mapping.line)

    def _add_contents(self, source: str, shown: str, root: str, line: int, above: list[tuple[int, int]]) -> None:
        """Add all that a folder holds to the folder at real path ``root``; ``above`` names the folders on the way."""
        folders = []
        with os.scandir(source) as found:
            for item in found:
                if item.is_symlink():
                    if self._is_folder_link(item, above, source):
                        folders.append(item.name)
                    else:
                        self._leaf(LINK, item.path, item.name, shown, root, line)
                elif item.is_dir(follow_symlinks=False):
                    folders.append(item.name)
                elif item.is_file(follow_symlinks=False):
                    self._leaf(FILE, item.path, item.name, shown, root, line)
                else:
                    self.problems.append(f"{item.path} is neither a file, a folder nor a link and cannot be installed.")
        for name in folders:
            inner_shown = f"{shown}/{name}" if shown != "/" else f"/{name}"
            inner = self._made(inner_shown, f"{root}/{name}" if root != "/" else f"/{name}", line, f"{source}/{name}")
            if inner is not None:
                status = os.stat(source)
                above.append((status.st_dev, status.st_ino))
                self._add_contents(f"{source}/{name}", inner_shown, inner, line, above)
                above.pop()

    def _is_folder_link(self, item: os.DirEntry[str], above: list[tuple[int, int]], source: str) -> bool:
        """Tell whether a link is installed as the folder it leads to, as the official agents do it."""
        if not self._follow or not item.is_dir():
            return False
        target, here = item.stat(), os.stat(source)
        if (target.st_dev, target.st_ino) in [*above, (here.st_dev, here.st_ino)]:
            self.warnings.append(f"{item.path} leads back to a folder that it is in; it is installed as a link.")
            return False
        return True

    def _leaf(self, kind: str, source: str, name: str, shown: str, root: str, line: int) -> None:
        path = f"{root}/{name}" if root != "/" else f"/{name}"
        other = self.entries.get(path)
        if other is not None:
            what = "makes a folder there" if other.kind == FOLDER else f"installs {other.source} there"
            self.problems.append(
                f"{source} cannot be installed at {path}: line {other.line} of the AppSpec {what} already."
                " Remove one of the two from the files section."
            )
            return
        self.entries[path] = Entry(kind, path, f"{shown}/{name}" if shown != "/" else f"/{name}", source, line)
        if len(self.entries) > _MAX_ENTRIES:
            raise OSError(
                40, f"The revision unfolds to more than {_MAX_ENTRIES} entries; look for links in circles", source
            )

    def _folder(self, shown: str, mapping: FileMapping, source: str) -> str | None:
        """Want a destination folder and its missing parents; give its real path, or None where it cannot be."""
        try:
            real = self._after.resolve(shown)
            if real != shown and self._is_dangling(shown):
                self._problem(mapping, f"the destination {shown} is a symbolic link to nothing; make what it leads to")
                return None
        except OSError as error:
            self._problem(mapping, f"the destination {shown} cannot be followed: {error.strerror}")
            return None
        if real in self.entries or real == "/":
            return self._made(shown, real, mapping.line, source)
        parent = self._folder(os.path.dirname(shown), mapping, source)
        return None if parent is None else self._made(shown, real, mapping.line, source)

    def _is_dangling(self, shown: str) -> bool:
        name = self._after.real(shown)
        return name not in self.entries and self._after.kind(name) == LINK and self._after.followed_kind(name) is None

    def _made(self, shown: str, real: str, line: int, source: str) -> str | None:
        """Want one folder whose parent is settled; give its real path, following a link that stands there."""
        other = self.entries.get(real)
        if other is not None:
            if other.kind == FOLDER:
                return real
            self.problems.append(
                f"{source} needs a folder at {real}, where line {other.line} of the AppSpec installs {other.source}."
                " Remove one of the two from the files section."
            )
            return None
        kind = self._after.kind(real)
        if kind is None:
            self.entries[real] = Entry(FOLDER, real, shown, "", line)
            return real
        if kind == FOLDER:
            return real
        target = self._after.resolve(real) if kind == LINK else real
        if kind == LINK and self._after.kind(target) == FOLDER:
            return target
        state = "a symbolic link to nothing" if kind == LINK else f"a {kind}"
        self.problems.append(
            f"{source} needs a folder at {shown}, but there is {state}. Remove it (a BeforeInstall script can), or"
            " choose another destination; no file_exists_behavior replaces a file by a folder."
        )
        return None

    def _problem(self, mapping: FileMapping, text: str) -> None:
        self.problems.append(f"Line {mapping.line} of the AppSpec: {text}.")


def expand(path: str, cwd: str) -> str:
    """Give the absolute, tidied form of a path in an AppSpec: ``~`` is the home, relative is below ``cwd``.

    An empty path is the root folder, as the official agent has it.
    """
    if path.startswith("~"):
        path = os.path.expanduser(path)
    elif not path:
        path = "/"
    real = os.path.normpath(os.path.join(cwd, path))
    return real[1:] if real.startswith("//") else real


def _climbs(path: str) -> bool:
    depth = 0
    for part in path.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            return True
    return False
