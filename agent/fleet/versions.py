"""The installed versions: each in a virtual environment of its own, built whole, chosen by one link."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import sys

from agent.filesystem.durable import make_directory, sync_directory, sync_file_systems, write_durably
from agent.fleet import places
from agent.fleet.commands import attempt, run
from agent.fleet.errors import FleetError
from agent.fleet.places import Places
from agent.fleet.wheelhouse import REQUIREMENTS, Wheelhouse

_COMPLETE = ".complete"
SYSTEMD = "systemd"
"""Directory of a version with its unit and drop-ins, so that going back brings the right ones along."""


def name_of(wheelhouse: Wheelhouse) -> str:
    """The directory's name of a version: two builds of one version are two, as one of them may be running."""
    return f"{wheelhouse.version}-{wheelhouse.sha256[:8]}"


def version_in(name: str) -> str:
    """The version that a directory's name stands for."""
    return name.rpartition("-")[0]


def directory(host: Places, name: str) -> str:
    """The path of a version's directory."""
    return os.path.join(host.at(places.VERSIONS), name)


def is_complete(host: Places, name: str) -> bool:
    """Whether a version was built to its end."""
    return os.path.isfile(os.path.join(directory(host, name), _COMPLETE))


def installed(host: Places) -> list[str]:
    """The names of all complete versions, in no particular order."""
    try:
        names = os.listdir(host.at(places.VERSIONS))
    except FileNotFoundError:
        return []
    return [name for name in names if is_complete(host, name)]


def works(host: Places, name: str) -> bool:
    """Whether a version can be run; the Python that it was built with may be gone."""
    command = os.path.join(directory(host, name), "bin", places.PROGRAMS[0])
    try:
        return attempt([command, "--version"]).status == 0
    except FleetError:
        return False


def spoil(host: Places, name: str) -> None:
    """Make a version one that has to be built anew. Raises OSError."""
    os.unlink(os.path.join(directory(host, name), _COMPLETE))


def current(host: Places) -> str | None:
    """The name of the version in use, None where there is none."""
    try:
        return os.path.basename(os.readlink(host.at(places.CURRENT)))
    except OSError:
        return None


def build(host: Places, wheelhouse: Wheelhouse, *, python: str) -> str:
    """Make a virtual environment of a wheelhouse and give its name; nothing happens where it is there already.

    What an interrupted run has left is made anew. No package index is asked: every requirement must be in the
    wheelhouse with the hash that is written there. Raises FleetError.
    """
    name = name_of(wheelhouse)
    if is_complete(host, name):
        return name
    path = directory(host, name)
    shutil.rmtree(path, ignore_errors=True)
    try:
        _build(wheelhouse, path, python=python)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)  # on a full disk it is the largest part of what is in the way
        raise
    sync_file_systems([path])
    write_durably(os.path.join(path, _COMPLETE), f"{wheelhouse.sha256}\n".encode())
    return name


def _build(wheelhouse: Wheelhouse, path: str, *, python: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PIP_CONFIG_FILE": os.devnull}
    run(
        [python, "-I", "-m", "venv", "--without-pip", path],
        purpose="make a virtual environment",
        remedy="Some distributions pack Python's venv module by itself: install it.",
        environment=environment,
    )
    interpreter = os.path.join(path, "bin", "python")
    options = ["--isolated", "--no-input", "--disable-pip-version-check", "--no-cache-dir", "--quiet"]
    source = ["--no-index", "--find-links", wheelhouse.directory, "--only-binary", ":all:", "--require-hashes"]
    # Straight from its wheel, so that no pip is installed on the host and none of its own is needed.
    pip = os.path.join(wheelhouse.path(wheelhouse.pip), "pip")
    run(
        [interpreter, "-I", pip, "install", *options, *source, "--requirement", wheelhouse.path(REQUIREMENTS)],
        purpose="install the wheels",
        remedy=f"Was the wheelhouse made for this machine and {describe_python()}? See userdata/build-wheelhouse.",
        environment=environment,
        limit=900,
    )
    _check(path, wheelhouse.version, environment)
    _keep_units(wheelhouse, path)


def describe_python() -> str:
    """The Python that runs this, for messages."""
    return f"Python {sys.version_info.major}.{sys.version_info.minor}"


def _check(path: str, version: str, environment: dict[str, str]) -> None:
    command = os.path.join(path, "bin", places.PROGRAMS[0])
    said = run([command, "--version"], purpose="run the new agent", environment=environment, limit=60)
    if version not in said.split():
        raise FleetError(f"The new agent calls itself {said.strip()!r}, and version {version} was expected.")


def _keep_units(wheelhouse: Wheelhouse, path: str) -> None:
    kept = os.path.join(path, SYSTEMD)
    make_directory(kept)
    for name in os.listdir(wheelhouse.directory):
        if name.endswith((".service", ".conf")):
            copy = os.path.join(kept, name)
            shutil.copyfile(wheelhouse.path(name), copy)
            os.chmod(copy, 0o644)


def units(host: Places) -> set[str]:
    """The SHA-256 of every unit and drop-in that a version has brought."""
    found = set()
    for path in glob.glob(os.path.join(glob.escape(host.at(places.VERSIONS)), "*", SYSTEMD, "*")):
        with open(path, "rb") as file:
            found.add(hashlib.file_digest(file, "sha256").hexdigest())
    return found


def switch(host: Places, name: str) -> None:
    """Make a version the current one, at one moment; processes of the old one go on with their files."""
    link = host.at(places.CURRENT)
    target = os.path.join(os.path.basename(places.VERSIONS), name)
    temporary = f"{link}.new~"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.rename(temporary, link)
    sync_directory(os.path.dirname(link))


def prune(host: Places, keep: set[str]) -> list[str]:
    """Remove the versions that are neither to be kept nor in use; give their names."""
    parent = host.at(places.VERSIONS)
    names = [name for name in sorted(os.listdir(parent)) if name not in keep]
    used = in_use(host, names)
    for name in names:
        if name not in used:
            shutil.rmtree(os.path.join(parent, name), ignore_errors=True)
    return [name for name in names if name not in used]


def in_use(host: Places, names: list[str]) -> dict[str, list[int]]:
    """The versions that processes run from, each with their ids.

    A process belongs to a version if its command line begins with that version's interpreter or script, or if it
    has mapped a file of it.
    """
    used: dict[str, list[int]] = {}
    # A command line has the path as it was written, a map the real one: they differ where /opt is a link.
    parents = {os.path.abspath(host.at(places.VERSIONS)), os.path.realpath(host.at(places.VERSIONS))}
    either = b"|".join(re.escape(os.fsencode(parent)) for parent in parents)
    pattern = re.compile(rb"(?:" + either + rb")/([^/\0\n]+)/")
    for process in filter(str.isdigit, os.listdir("/proc")):
        found = pattern.findall(_read(f"/proc/{process}/cmdline") + b"\n" + _read(f"/proc/{process}/maps"))
        for name in {os.fsdecode(name) for name in found} & set(names):
            used.setdefault(name, []).append(int(process))
    return used


def command_line(process: int) -> list[str]:
    """The command line of a process; empty where it has ended."""
    return [os.fsdecode(part) for part in _read(f"/proc/{process}/cmdline").split(b"\0")]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
