"""A small host for tests of Installs: a destination, the agent's root directory, and revisions made from tables.

A tree is a table of relative paths with their content: a text, ``Link`` or ``None`` for a directory.
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.appspec.model import AppSpec, FileMapping, Permission
from agent.install.installer import InstallRequest, install, plan_install
from agent.install.options import InstallOptions
from agent.install.plan import Plan
from agent.install.state import InstallState
from guards import require

GROUP = "group-a"
NOBODY = 65534

_CLONE_NEWNS = 0x00020000


class Link(str):
    """The target of a symbolic link."""


Content = str | Link | None
Tree = Mapping[str, Content]
Mappings = Iterable[tuple[str, str]]


def put(path: str, content: Content = None, *, mode: int | None = None) -> str:
    """Make a file, a link or a directory, with the directories above it; give its path."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if content is None:
        os.makedirs(path, exist_ok=True)
    elif isinstance(content, Link):
        os.symlink(content, path)
    else:
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
    if mode is not None:
        os.chmod(path, mode)
    return path


def tree(top: str) -> dict[str, Content]:
    """Everything below a directory as a table; empty where there is no directory. Special files show as their kind."""
    found: dict[str, Content] = {}
    for directory, directories, files in os.walk(top):
        for name in [*directories, *files]:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, top)] = content_of(path)
    return found


def content_of(path: str) -> Content:
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return Link(os.readlink(path))
    if stat.S_ISDIR(mode):
        return None
    if not stat.S_ISREG(mode):
        return f"special file {stat.S_IFMT(mode):o}"
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


@dataclass(slots=True)
class Box:
    """A host of its own below ``top``."""

    top: str
    count: int = 0

    @property
    def dest(self) -> str:
        return f"{self.top}/dest"

    @property
    def root(self) -> str:
        return f"{self.top}/root"

    @property
    def state(self) -> InstallState:
        return InstallState(self.root)

    def revision(self, files: Tree) -> str:
        """Make an unpacked revision; give its archive directory."""
        self.count += 1
        archive = f"{self.root}/{GROUP}/d-{self.count}/deployment-archive"
        os.makedirs(archive)
        for path, content in files.items():
            put(f"{archive}/{path}", content)
        return archive

    def request(
        self,
        revision: Tree | str,
        *,
        to: str | Mappings = "out",
        behavior: str = "DISALLOW",
        group: str = GROUP,
        permissions: Iterable[Permission] = (),
        cwd: str = "/",
    ) -> InstallRequest:
        """What the agent is asked for.

        ``to`` is where the revision's directory "app" goes, below the destination directory, or pairs of source and
        destination as the AppSpec would have them.
        """
        archive = revision if isinstance(revision, str) else self.revision(revision)
        pairs = [("app", f"{self.dest}/{to}")] if isinstance(to, str) else to
        files = tuple(FileMapping(source, destination, line) for line, (source, destination) in enumerate(pairs, 4))
        return InstallRequest(
            group_id=group,
            deployment_dir=os.path.dirname(archive),
            archive=archive,
            appspec=AppSpec("appspec.yml", files=files, permissions=tuple(permissions)),
            file_exists_behavior=behavior,
            cwd=cwd,
            root_dir=self.root,
        )

    def install(
        self,
        revision: Tree | str,
        *,
        to: str | Mappings = "out",
        behavior: str = "DISALLOW",
        group: str = GROUP,
        permissions: Iterable[Permission] = (),
        cwd: str = "/",
        progress: Callable[[int, int], None] | None = None,
        follow: bool = True,
    ) -> Plan:
        request = self.request(revision, to=to, behavior=behavior, group=group, permissions=permissions, cwd=cwd)
        return install(request, options=InstallOptions(follow_directory_symlinks=follow), progress=progress)

    def plan(
        self, revision: Tree | str, *, to: str | Mappings = "out", behavior: str = "DISALLOW", cwd: str = "/"
    ) -> Plan:
        request = self.request(revision, to=to, behavior=behavior, cwd=cwd)
        return plan_install(request, options=InstallOptions())

    def put(self, path: str, content: Content = None, *, mode: int | None = None) -> str:
        """Put something foreign below the destination directory."""
        return put(f"{self.dest}/{path}", content, mode=mode)

    def tree(self, path: str = "") -> dict[str, Content]:
        return tree(os.path.join(self.dest, path))

    def read(self, path: str) -> Content:
        return content_of(f"{self.dest}/{path}")

    def listed(self, group: str = GROUP) -> list[str]:
        """The clean-up list's paths, those below the destination directory relative to it."""
        return [path.removeprefix(f"{self.dest}/") for path in self.state.cleanup_file(group).paths()]

    def raw_list(self, group: str = GROUP) -> str:
        with open(self.list_path(group), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    def list_path(self, group: str = GROUP) -> str:
        return f"{self.root}/deployment-instructions/{group}-cleanup"

    def write_list(self, lines: Iterable[str], group: str = GROUP) -> None:
        """Write a clean-up list and its instructions as another agent would."""
        lines = list(lines)
        put(self.list_path(group), "".join(f"{line}\n" for line in lines), mode=0o644)
        put(self.state.instructions(group), official_instructions(lines), mode=0o644)

    def open_journals(self) -> list[str]:
        try:
            return sorted(os.listdir(f"{self.root}/agent-state/install"))
        except FileNotFoundError:
            return []


def official_instructions(names: Iterable[str]) -> str:
    """Return the instructions by which the official agent comes to a list of these names."""
    copies = [{"type": "copy", "source": "/archive", "destination": name} for name in names if name[:1] == "/"]
    rules = [{"type": "semanage", "context": {}, "file": name[9:]} for name in names if name[:1] != "/"]
    return json.dumps({"instructions": [*copies, *rules]})


def in_child(action: Callable[[], object], *, before: Callable[[], None] | None = None) -> str:
    """Run an action in a forked child, after ``before``; give what it returns as text, or its error's name and text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if before is not None:
                before()
            said = str(action())
        except BaseException as error:  # noqa: BLE001 - the child ends here, and its parent shall read of it
            said = f"{type(error).__name__}: {error}"
        os.write(writer, os.fsencode(said)[:60_000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = os.fsdecode(pipe.read())
    os.waitpid(child, 0)
    return said


def as_ordinary_user(action: Callable[[], object]) -> str:
    """Run an action as an ordinary user: in a child that has given up root, or in one of the same user."""
    if os.geteuid() != 0:
        return in_child(action)
    require("users")
    return in_child(action, before=_become_nobody)


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def give_to_ordinary_user(top: str) -> None:
    """Give a whole directory to the user of ``as_ordinary_user``."""
    if os.geteuid() != 0:
        return
    for directory, directories, files in os.walk(top):
        for name in [".", *directories, *files]:
            os.chown(os.path.join(directory, name), NOBODY, NOBODY, follow_symlinks=False)


def with_own_mounts(action: Callable[[], object], *commands: Sequence[str]) -> str:
    """Run an action in a child whose mounts are its own, after these commands; no mount outlives the child."""

    def before() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        for command in [("mount", "--make-rprivate", "/"), *commands]:
            subprocess.run(command, check=True)

    return in_child(action, before=before)
