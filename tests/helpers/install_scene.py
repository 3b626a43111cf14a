"""Three deployments in a row onto a small host, with everything in them that an Install can meet.

Version 1 is installed undisturbed, then somebody works on the host by hand; version 2 is the Install that the walks
disturb; version 3 has to succeed afterwards. A revision is a table of paths with their content: a text, ``Link`` or
``None`` for a directory.
"""

from __future__ import annotations

import os
import pwd
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agent.appspec.model import AclEntry, AppSpec, FileMapping, Permission
from agent.install.installer import InstallRequest

GROUP = "11111111-2222-3333-4444-555555555555"
# Somebody whom every host knows, and not the one who runs the tests.
SOMEBODY = pwd.getpwnam("daemon").pw_uid
BIG = "0123456789abcdef" * 20_000  # above what is copied by one read and one write


class Link(str):
    """The target of a symbolic link in a revision."""


Content = str | Link | None


@dataclass(frozen=True, slots=True)
class Scene:
    """``foreign`` prepares the host, ``by_hand`` changes it after version 1; both get the host's directory.

    ``mappings`` are pairs of source and destination below the host's directory; ``replaced`` are foreign paths that
    version 2 takes over; ``in_place`` are paths that something is mounted on, with the file that is mounted.
    """

    name: str
    behavior: str
    revisions: Mapping[str, Mapping[str, Content]]
    mappings: Mapping[str, tuple[tuple[str, str], ...]]
    foreign: Callable[[str], None]
    by_hand: Callable[[str], None]
    permissions: bool = False
    replaced: frozenset[str] = frozenset()
    in_place: Mapping[str, str] = field(default_factory=dict)
    first: str = "1"


@dataclass(frozen=True, slots=True)
class Place:
    """The directory in which a scene is played: the agent's root directory, the host's, and what lies where."""

    top: str

    @property
    def host(self) -> str:
        return f"{self.top}/host"

    @property
    def root(self) -> str:
        return f"{self.top}/root"

    @property
    def cleanup_list(self) -> str:
        return f"{self.root}/deployment-instructions/{GROUP}-cleanup"

    @property
    def odd_names(self) -> str:
        return f"{self.root}/agent-state/cleanup/{GROUP}.json"

    @property
    def pointer(self) -> str:
        return f"{self.root}/deployment-instructions/{GROUP}_last_successful_install"

    @property
    def instructions(self) -> str:
        return f"{self.root}/deployment-instructions/{GROUP}-install.json"

    @property
    def journals(self) -> str:
        return f"{self.root}/agent-state/install"

    @property
    def journal(self) -> str:
        return f"{self.journals}/{GROUP}.journal"

    def deployment(self, version: str) -> str:
        return f"{self.root}/{GROUP}/d-{version}"

    def archive(self, version: str) -> str:
        return f"{self.deployment(version)}/deployment-archive"


def prepare(scene: Scene, place: Place) -> None:
    """Make the host as it was before any deployment, and all unpacked revisions."""
    os.makedirs(place.host)
    os.makedirs(place.root)
    scene.foreign(place.host)
    for version, table in scene.revisions.items():
        for path, content in table.items():
            put(f"{place.archive(version)}/{path}", content)


def put(path: str, content: Content) -> None:
    """Make a file, a link or a directory with its parents; files get an old time, so that it can be seen to be kept."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if content is None:
        os.makedirs(path, exist_ok=True)
    elif isinstance(content, Link):
        os.symlink(content, path)
    else:
        with open(path, "w", encoding="ascii") as file:
            file.write(content)
        os.utime(path, (1_500_000_000, 1_500_000_000))


def request(scene: Scene, place: Place, version: str) -> InstallRequest:
    """What the agent is asked to install."""
    files = tuple(
        FileMapping(source, os.path.normpath(f"{place.host}/{destination}"), line)
        for line, (source, destination) in enumerate(scene.mappings[version], 3)
    )
    return InstallRequest(
        group_id=GROUP,
        deployment_dir=place.deployment(version),
        archive=place.archive(version),
        appspec=AppSpec("appspec.yml", files=files, permissions=_permissions(scene, place, version)),
        file_exists_behavior=scene.behavior,
        cwd="/",
        root_dir=place.root,
    )


def _permissions(scene: Scene, place: Place, version: str) -> tuple[Permission, ...]:
    if not scene.permissions or version == "1":
        return ()
    owner = str(SOMEBODY) if os.geteuid() == 0 else None
    named = (AclEntry("user", str(SOMEBODY), 4), AclEntry("mask", "", 6))
    inherited = (AclEntry("user", str(SOMEBODY), 5, default=True),)
    files, directories = frozenset({"file"}), frozenset({"directory"})
    return (
        Permission(f"{place.host}/app/leads-out", mode=0o604),
        Permission(f"{place.host}/app", "*.sh", mode=0o750, owner=owner, group=owner, types=files),
        Permission(f"{place.host}/app", "replaced.*", mode=0o640, acls=named, types=files),
        Permission(f"{place.host}/app", "*directory", mode=0o2770, owner=owner, acls=inherited, types=directories),
    )


def acl_for(user: int, rights: int) -> bytes:
    """The value of an access list with one named user, as setfacl would write it."""
    everyone = 0xFFFFFFFF
    entries = [(1, 7, everyone), (2, rights, user), (4, 5, everyone), (16, 7, everyone), (32, 5, everyone)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def _write(path: str, text: str) -> None:
    put(path, text)


def _foreign(host: str) -> None:
    _write(f"{host}/foreign.txt", "foreign")
    _write(f"{host}/theirs/data", "their data")
    os.mkdir(f"{host}/real")
    os.symlink("real", f"{host}/via")


def _by_hand(host: str) -> None:
    app = f"{host}/app"
    os.chmod(f"{app}/replaced.conf", 0o444)
    os.chmod(f"{app}/kept-directory", 0o2711)
    os.setxattr(f"{app}/kept-plain", "system.posix_acl_access", acl_for(SOMEBODY, 7))
    os.setxattr(f"{app}/kept-plain", "system.posix_acl_default", acl_for(SOMEBODY, 5))
    if os.geteuid() == 0:
        os.chown(f"{app}/kept-directory", -1, SOMEBODY)
        os.chmod(f"{app}/kept-directory", 0o2711)
        os.chown(f"{app}/kept-plain", SOMEBODY, SOMEBODY)
        os.chown(f"{app}/gone.txt", SOMEBODY, SOMEBODY)
    os.link(f"{app}/linked.txt", f"{host}/theirs/other-name")
    _write(f"{app}/old-but-used/stranger", "not ours")
    _write(f"{app}/overwritten", "was here before")
    os.link(f"{app}/overwritten", f"{host}/theirs/second-name")
    os.symlink("../foreign.txt", f"{app}/points-out")
    os.symlink("nowhere", f"{app}/dangling")
    os.mkdir(f"{app}/already-there", 0o700)


_ONE: dict[str, Content] = {
    "app/replaced.conf": "one",
    "app/same": "same",
    "app/gone.txt": "gone",
    "app/linked.txt": "one of two names",
    "app/old-directory/a": "a",
    "app/old-directory/b/c": "c",
    "app/old-but-used/x": "x",
    "app/becomes-directory": "file",
    "app/becomes-file/z/y": "z",
    "app/becomes-link": "text",
    "app/was-link": Link("same"),
    "app/kept-directory/f": "f1",
    "app/kept-plain/f": "f1",
    "app/new\nline": "odd 1",
    "app/space ": "odd 1",
    "app/caf\udce9": "latin 1",
    "app/odd directory /inner": "odd 1",
    "one.conf": "one",
}
_TWO: dict[str, Content] = {
    "app/replaced.conf": "two is longer",
    "app/same": "same",
    "app/linked.txt": "two",
    "app/becomes-directory/in/side": "now a directory",
    "app/becomes-file": "now a file",
    "app/becomes-link": Link("same"),
    "app/was-link": "now a file",
    "app/kept-directory/f": "f2",
    "app/kept-directory/sub/run.sh": "#!/bin/sh",
    "app/kept-plain/f": "f2",
    "app/kept-plain/sub/new": "new",
    "app/leads-out": Link("../theirs/data"),
    "app/run.sh": "#!/bin/sh",
    "app/new\nline": "odd 2",
    "app/space ": "odd 2",
    "app/second ": "odd and new",
    "app/caf\udce9": "latin 2",
    "app/overwritten": "now ours",
    "app/points-out": "now ours",
    "app/dangling": "now ours",
    "app/already-there/new": "new",
    "app/new-directory/deep/er/file": "deep",
    "app/new-directory/link": Link("deep"),
    "app/big": BIG,
    "one.conf": "one, second edition",
    "two.conf": "two",
}
_THREE: dict[str, Content] = {
    "app/replaced.conf": "three",
    "app/becomes-directory": "a file again",
    "app/becomes-file/z/y": "z again",
    "app/new-directory/deep/er/file": "deeper",
    "app/kept-plain/f": "f3",
    "app/overwritten": "still ours",
    "app/points-out": "still ours",
    "app/dangling": "still ours",
    "app/caf\udce9": "latin 3",
    "app/third ": "odd 3",
    "one.conf": "three",
}

_OVERWRITE = Scene(
    name="overwrite",
    behavior="OVERWRITE",
    revisions={"1": _ONE, "2": _TWO, "3": _THREE},
    mappings={
        "1": (("app", "app"), ("one.conf", "etc/app"), ("one.conf", "via/sub")),
        "2": (("app", "app"), ("one.conf", "etc/app"), ("two.conf", "new/tree/deep"), ("two.conf", "via/sub")),
        "3": (("app", "app"), ("one.conf", "via/sub")),
    },
    foreign=_foreign,
    by_hand=_by_hand,
    permissions=True,
    replaced=frozenset({"app/overwritten", "app/points-out", "app/dangling"}),
)


def _retained(host: str) -> None:
    _write(f"{host}/app/kept.conf", "edited by hand")
    _write(f"{host}/app/sub/kept.conf", "edited by hand")
    os.symlink("../foreign.txt", f"{host}/app/kept-link")


_RETAIN = Scene(
    name="retain",
    behavior="RETAIN",
    revisions={
        "1": {"app/a": "1", "app/sub/b": "1", "app/gone": "1"},
        "2": {"app/a": "2", "app/sub/b": "2", "app/kept.conf": "2", "app/sub/kept.conf": "2", "app/kept-link": "2"},
        "3": {"app/a": "3", "app/kept.conf": "3", "app/sub/c": "3"},
    },
    mappings=dict.fromkeys("123", (("app", "app"),)),
    foreign=_foreign,
    by_hand=_retained,
)


def _nothing(host: str) -> None:
    """Nobody touches the host."""


# No version 1: the agent's own directories are made by the Install that is disturbed.
_FIRST = Scene(
    name="first",
    behavior="DISALLOW",
    revisions={
        "2": {"app/a": "2", "app/sub/b": "2", "app/odd ": "2"},
        "3": {"app/a": "3", "app/sub/c": "3"},
    },
    mappings=dict.fromkeys("23", (("app", "app"), ("app/a", "single"))),
    foreign=_foreign,
    by_hand=_nothing,
    first="",
)


def _mounted(host: str) -> None:
    _write(f"{host}/app/mounted.conf", "")
    _write(f"{host}/theirs/mounted.conf", "what is mounted")
    os.setxattr(f"{host}/theirs/mounted.conf", "system.posix_acl_access", acl_for(SOMEBODY, 6))


_MOUNTED = Scene(
    name="mounted",
    behavior="OVERWRITE",
    revisions={
        "1": {"app/a": "1", "app/gone": "1"},
        "2": {"app/a": "2", "app/mounted.conf": "two", "app/z": "2"},
        "3": {"app/a": "3", "app/mounted.conf": "three"},
    },
    mappings=dict.fromkeys("123", (("app", "app"),)),
    foreign=_foreign,
    by_hand=_mounted,
    replaced=frozenset({"app/mounted.conf", "theirs/mounted.conf"}),
    in_place={"app/mounted.conf": "theirs/mounted.conf"},
)

# Two destinations that may lie on two file systems.
_SPREAD = Scene(
    name="spread",
    behavior="DISALLOW",
    revisions={
        "1": {"app/a": "1", "app/gone": "1"},
        "2": {"app/a": "2", "app/new/b": "2"},
        "3": {"app/a": "3"},
    },
    mappings=dict.fromkeys("123", (("app", "app"), ("app", "other/app"))),
    foreign=lambda host: put(f"{host}/other", None),
    by_hand=_nothing,
)

SCENES = {scene.name: scene for scene in (_OVERWRITE, _RETAIN, _FIRST, _MOUNTED, _SPREAD)}


def remove(top: str) -> None:
    shutil.rmtree(top, ignore_errors=True)
