"""A host on which root deploys into the directory of an account, and what of it the account must not get at.

Below a directory that every account may enter:

    roots/app      what is root's own; its names are those of the revisions
    home           the account's; the destinations lie in it
    home/vault     root's too, below a name that the account may change
    others         another account's
    root           the agent's root directory

An Install runs in a process of its own. A test says at which of its steps somebody acts: a step is the moment before a
call by which the Install looks at a name or changes something, so an act falls at the same point in each run.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from agent.appspec.model import Permission
from agent.errors import AgentError
from agent.install.installer import InstallRequest, install, recover
from agent.install.options import InstallOptions
from host_tree import describe, snapshot
from install_box import Box, Mappings, Tree, put
from neighbour_accounts import ACCOUNT, OTHER_ACCOUNT, Program
from waiting import Guard

ROOTS_SECRET = "for root's eyes only"

# Every name that one of the revisions installs below "app", so that a wrong directory always offers a file to change.
NAMES: Sequence[str] = ("top.txt", "bin/tool", "lib/a", "lib/b", "lib/c", "old/x", "new/y", "kind")

ONE: Tree = {
    "app/top.txt": "one",
    "app/bin/tool": "one",
    "app/lib/a": "one",
    "app/lib/b": "one",
    "app/old/x": "one",
    "app/kind": "one",
    "last": "one",
}
TWO: Tree = {
    "app/top.txt": "two",
    "app/bin/tool": "two",
    "app/lib/a": "two",
    "app/lib/c": "two",
    "app/new/y": "two",
    "app/kind/z": "two",
    "last": "two",
}
THREE: Tree = {"app/top.txt": "three", "app/lib/a": "three", "last": "three"}

# What a step is the moment before: calls of Python's that look at names or change what they stand for.
_LOOKS = {"access", "getxattr", "listdir", "listxattr", "lstat", "readlink", "scandir", "stat"}
_CHANGES = {
    "chmod",
    "chown",
    "fchmod",
    "fchown",
    "ftruncate",
    "lchown",
    "link",
    "mkdir",
    "mkfifo",
    "mknod",
    "open",
    "remove",
    "removexattr",
    "rename",
    "replace",
    "rmdir",
    "setxattr",
    "symlink",
    "truncate",
    "unlink",
    "utime",
}
_MODULES = frozenset({"posix", "_io", "io"})
# What the agent calls in the kernel past Python is in the functions of this module.
_BESIDE_PYTHON = "agent/filesystem/kernel.py"
_IMPORTS = "<frozen importlib"
NEVER: Mapping[int, Program] = {}
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_LINKS = re.compile(r" links=\d+")
_OLD_TIME = 1_500_000_000
_SECONDS = 60.0


@dataclass(slots=True)
class Outcome:
    """How a process ended: its ``error`` if it raised one, its number of ``steps``, and the ``results`` of the acts."""

    error: str = ""
    explained: bool = True
    hung: bool = False
    killed: bool = False
    steps: int = 0
    results: list[object] = field(default_factory=list)

    @property
    def acts(self) -> int:
        """How often an act did something."""
        return sum(result for result in self.results if isinstance(result, int))

    @property
    def problems(self) -> list[str]:
        """What is wrong with it, whatever it was disturbed by."""
        if self.hung:
            return ["it waits for ever"]
        return [] if self.explained else [f"it ended without an explanation: {self.error}"]


class Host:
    """The host; ``set_up`` makes it as new, ``losses`` says what the account has gained since."""

    def __init__(self, top: str) -> None:
        self.top = top
        self.box = Box(top)
        self.names = NAMES
        self.shared = False
        self._watched: dict[str, tuple[int, dict[str, str]]] = {}

    @property
    def home(self) -> str:
        return self.box.dest

    @property
    def app(self) -> str:
        return f"{self.home}/app"

    @property
    def vault(self) -> str:
        return f"{self.home}/vault"

    @property
    def mappings(self) -> list[tuple[str, str]]:
        """Where a revision goes where nothing else is said."""
        return [("app", self.app), ("last", f"{self.home}/last.d")]

    @property
    def roots(self) -> str:
        """What is root's, in a directory of root's."""
        return f"{self.top}/roots/app"

    def set_up(self) -> None:
        """Make everything anew, with nothing deployed; the account owns its directory, or shares that of root."""
        self.clear()
        os.makedirs(self.box.root)
        for top in (self.roots, self.vault):
            make_roots_tree(top, self.names)
        for path, account in ((self.home, ACCOUNT), (f"{self.top}/others", OTHER_ACCOUNT)):
            os.makedirs(path, exist_ok=True)
            os.chown(path, account, account)
        if self.shared:
            os.chown(self.home, 0, ACCOUNT)
            os.chmod(self.home, 0o775)
        for path in (f"{self.top}/roots", f"{self.top}/others", self.vault):
            self.watch(path)

    def set_up_deployed(self, revision: Tree | None = None, *, given: bool = True) -> None:
        """Make everything anew, with the first revision deployed; ``given`` to the account, else it is root's."""
        self.set_up()
        outcome = self.run(self.deployment(ONE if revision is None else revision, given=given))
        assert outcome.error == "", "the first revision cannot be deployed, so that nothing can be shown"
        # Beside the directories of the first revision too lies one of root's.
        make_roots_tree(f"{self.app}/vault", [name.removeprefix("lib/") for name in self.names if "lib/" in name])
        self.watch(f"{self.app}/vault")

    def clear(self) -> None:
        for descriptor, _ in self._watched.values():
            os.close(descriptor)
        self._watched = {}
        for entry in os.scandir(self.top):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)

    def watch(self, path: str) -> None:
        """Remember a directory and all below it as what must not change, wherever it may be moved to."""
        if path in self._watched:
            os.close(self._watched[path][0])
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._watched[path] = descriptor, _picture(descriptor)

    def request(
        self,
        revision: Tree | str,
        *,
        to: Mappings | None = None,
        given: bool = True,
        behavior: str = "OVERWRITE",
        permissions: tuple[Permission, ...] = (),
    ) -> InstallRequest:
        mappings = self.mappings if to is None else to
        if given:
            permissions = (*permissions, Permission(self.home, owner=str(ACCOUNT), group=str(ACCOUNT)))
        return self.box.request(revision, to=mappings, behavior=behavior, permissions=permissions)

    def deployment(self, revision: Tree | str, **options: object) -> Program:
        """Return the Install of a revision, to be run; the options are those of ``request``."""
        request = self.request(revision, **options)  # type: ignore[arg-type]
        return lambda: install(request, options=InstallOptions())

    def recovery(self) -> Program:
        return lambda: recover(self.box.root, options=InstallOptions())

    def run(
        self,
        work: Program,
        *,
        at: Mapping[int, Program] = NEVER,
        each: Program | None = None,
        before: Program | None = None,
    ) -> Outcome:
        """Do the work in a process of its own, after ``before``; act at steps by their numbers from 1, or at each."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _work(writer, work, at, each, before)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            text = _read_all(pipe.fileno())
        if text is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Outcome(hung=True)
        os.waitpid(child, 0)
        return Outcome(**json.loads(text)) if text else Outcome(killed=True)

    def afterwards(self) -> list[str]:
        """Do what comes after every Install, a recovery and the next deployment, and return all that is wrong."""
        problems = []
        for name, work in (("recovery", self.recovery()), ("next deployment", self.deployment(THREE))):
            problems += [f"{name}: {problem}" for problem in self.run(work).problems]
        return [*problems, *(f"after the next deployment: {loss}" for loss in self.losses())]

    def losses(self) -> list[str]:
        """Return everything that the account has gained or that others have lost."""
        found = []
        for path, (descriptor, before) in self._watched.items():
            found += [f"{path}: {line}" for line in differences(before, _picture(descriptor))]
        return found + list(self._gains())

    def _gains(self) -> Iterator[str]:
        """Find copies of what is root's, and files that run as root: not root's own, which are compared elsewhere."""
        own = {
            entry.st_ino
            for descriptor, _ in self._watched.values()
            for _, _, _, directory in os.fwalk(f"/proc/self/fd/{descriptor}/")
            for entry in (
                os.fstat(directory),
                *(os.lstat(f"/proc/self/fd/{directory}/{name}") for name in os.listdir(directory)),
            )
        }
        for directory, directories, files in os.walk(self.home):
            directories[:] = [name for name in directories if os.lstat(f"{directory}/{name}").st_ino not in own]
            for name in files:
                if os.lstat(f"{directory}/{name}").st_ino in own:
                    continue
                line = describe(f"{directory}/{name}")
                if ROOTS_SECRET in line:
                    yield f"{directory}/{name} holds root's secret: {line}"
                if line.startswith(("file 4", "file 6")) and f"{ACCOUNT}:" not in line:
                    yield f"{directory}/{name} runs as root: {line}"


def make_roots_tree(top: str, names: Sequence[str] = NAMES) -> None:
    """Make a directory of root's that others may look into but not change."""
    for name in names:
        put(f"{top}/{name}", "root's", mode=0o644)
        os.utime(f"{top}/{name}", (_OLD_TIME, _OLD_TIME))
    put(f"{top}/secret", ROOTS_SECRET, mode=0o600)
    for directory, _, _ in os.walk(top):
        os.chmod(directory, 0o755)


def own_mounts() -> None:
    """Give this process mounts of its own, which end with it."""
    if _LIBC.unshare(_CLONE_NEWNS) != 0 or _LIBC.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), "no mounts of its own")


def mount_over(path: str, source: str) -> int:
    """Show what is at a source at a path as well; return whether there was such a path."""
    return int(_LIBC.mount(source.encode(), path.encode(), None, _MS_BIND, None) == 0)


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    paths = sorted({*before, *after})
    return [
        f"{path} was {before.get(path, 'not there')}, is {after.get(path, 'gone')}"
        for path in paths
        if before.get(path) != after.get(path)
    ]


def _picture(descriptor: int) -> dict[str, str]:
    top = f"/proc/self/fd/{descriptor}/"
    found = {".": describe(f"{top}."), **snapshot(top)}
    # A further name of a file is no loss: the account may remove one from its directory, or have root replace it.
    return {path: _LINKS.sub("", line) for path, line in found.items()}


def _read_all(descriptor: int) -> bytes | None:
    """Read until the end; None where it does not come although a quiet machine would have got there."""
    guard, parts = Guard(_SECONDS), []
    while not guard.has_hung:
        if select.select([descriptor], [], [], 0.2)[0]:
            part = os.read(descriptor, 65536)
            if not part:
                return b"".join(parts)
            parts.append(part)
    return None


def _work(writer: int, work: Program, at: Mapping[int, Program], each: Program | None, before: Program | None) -> None:
    """Do the work in this process, report on it, and end."""
    outcome = Outcome()
    try:
        if before is not None:
            before()
        _count_steps(outcome, at, each)
        work()
        sys.setprofile(None)
    except BaseException as error:  # noqa: BLE001 - the process ends here, and the test reads of it
        outcome.error = f"{type(error).__name__}: {error}"
        outcome.explained = isinstance(error, AgentError)
    report = {name: getattr(outcome, name) for name in Outcome.__slots__}
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(json.dumps(report).encode())
    os._exit(0)


def _count_steps(outcome: Outcome, at: Mapping[int, Program], each: Program | None) -> None:
    process = os.getpid()

    def note(frame: FrameType, event: str, function: object) -> None:
        if os.getpid() != process or not _is_step(frame, event, function):
            return
        outcome.steps += 1
        act = at.get(outcome.steps, each)
        if act is not None:
            outcome.results.append(act())

    sys.setprofile(note)  # Python does not call it for what is called within it


def _is_step(frame: FrameType, event: str, function: object) -> bool:
    if event == "call":
        return frame.f_code.co_filename.endswith(_BESIDE_PYTHON)
    if event != "c_call" or frame.f_code.co_filename.startswith(_IMPORTS):
        return False
    return getattr(function, "__name__", "") in _LOOKS | _CHANGES and getattr(function, "__module__", "") in _MODULES
