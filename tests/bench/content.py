"""The revisions that the bench deploys, and the plain commands that are their floor."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

APPSPEC = """version: 0.0
os: linux
files:
  - source: files
    destination: {dest}
"""
# The floor of a bundle: unpack it, then copy what came out of it.
_UNPACK = {
    "tar": "tar -xf {bundle} -C archive",
    "tgz": "tar -xzf {bundle} -C archive",
    "zip": "unzip -q {bundle} -d archive",
}
_PACK = {"tar": ["tar", "-cf"], "tgz": ["tar", "-czf"], "zip": ["zip", "-qr"]}


@dataclass(frozen=True)
class Files:
    """``count`` files of ``size`` bytes, in directories of a hundred."""

    count: int
    size: int

    def make(self, directory: str) -> None:
        """Write them below ``directory``; their content does not repeat, so that archives stay about as large."""
        for number in range(self.count):
            if number % 100 == 0:
                os.makedirs(os.path.join(directory, f"directory-{number // 100:04}"))
            self._write(os.path.join(directory, self.name(number)))

    @property
    def few(self) -> bool:
        """Whether a disk removes them so quickly that it does not slow down what comes after."""
        return self.count < 100

    def name(self, number: int) -> str:
        return f"directory-{number // 100:04}/file-{number:06}"

    def _write(self, path: str) -> None:
        with open(path, "wb", buffering=0) as file:
            left = self.size
            while left:
                left -= file.write(os.urandom(min(left, 1 << 20)))


def no_permissions(files: Files, dest: str) -> str:
    return ""


def one_entry_for_all(files: Files, dest: str) -> str:
    """Owner, group and mode for every file, by one entry whose pattern reaches all."""
    return f"permissions:\n  - object: {dest}\n    type: [file]\n" + _attributes()


def one_entry_each(files: Files, dest: str) -> str:
    """Owner, group and mode for every file, by an entry of its own."""
    entries = (f"  - object: {dest}/{files.name(number)}\n" + _attributes() for number in range(files.count))
    return "permissions:\n" + "".join(entries)


def _attributes() -> str:
    # Root can give files away; anybody else can only give them to himself.
    owner, group = ("nobody", "nogroup")
    if os.geteuid() != 0:
        owner, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    return f'    owner: {owner}\n    group: {group}\n    mode: "0640"\n'


@dataclass(frozen=True)
class Revision:
    """What is deployed: files, how they are packed ("directory" for not at all), and the AppSpec's permissions."""

    files: Files
    kind: str
    permissions: Callable[[Files, str], str] = no_permissions
    destination: str = "deployed"

    def make(self, directory: str) -> str:
        """Write the revision below a directory, unless another kind of it is there; gives the location to deploy from.

        A relative destination is below the directory that the deployment is started in.
        """
        source = os.path.join(directory, "revision")
        if not os.path.isdir(source):
            self.files.make(os.path.join(source, "files"))
            with open(os.path.join(source, "appspec.yml"), "w") as file:
                file.write(APPSPEC.format(dest=self.destination) + self.permissions(self.files, self.destination))
        if self.kind == "directory":
            return source
        bundle = os.path.join(directory, f"bundle.{self.kind}")
        subprocess.run([*_PACK[self.kind], bundle, "."], cwd=source, check=True)
        return bundle

    def floor(self, location: str) -> list[str]:
        """The plain command that unpacks and copies the same, in the working directory, also over an earlier copy."""
        if self.kind == "directory":
            steps = f"cp -a {shlex.quote(location)} archive && cp -aT archive dest"
        else:
            unpack = _UNPACK[self.kind].format(bundle=shlex.quote(location))
            steps = f"mkdir archive && {unpack} && cp -aT archive dest"
        return ["/bin/sh", "-c", steps]
