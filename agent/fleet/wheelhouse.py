"""A wheelhouse: everything that an installation needs, in one directory or archive, held by one SHA-256.

In it lie wheels (the agent's, its dependencies', pip's), ``requirements.txt`` with the hash of each, the service's unit
and ``SHA256SUMS`` over all other files. The SHA-256 that a user gives is that of the archive (.tar.gz), or of
``SHA256SUMS`` for a directory. Checks, in this order, each before anything of the content is used:

1. the archive's, or the list's, own SHA-256;
2. every file is listed and every listed file is there, with its SHA-256;
3. ``requirements.txt`` names nothing but pinned versions with their hashes: no address that pip would fetch from;
4. exactly one wheel of the agent, one of pip, the requirements and the unit are there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from agent.fleet.errors import SourceError, SourceUsageError

SUMS = "SHA256SUMS"
REQUIREMENTS = "requirements.txt"
UNIT = "codedeploy-agent.service"
_AGENT = re.compile(r"codedeploy_host_agent-([0-9][A-Za-z0-9.+!]*)-py3-none-any\.whl")
_PIP = re.compile(r"pip-[0-9][A-Za-z0-9.]*-py3-none-any\.whl")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!-]*")
_REQUIREMENT = re.compile(r"(\w[\w.-]*==\w[\w.+!-]*)?(\s*--hash=sha256:[0-9a-f]{64})*\s*(#.*|\\)?")
"""A pinned version, hashes, a comment or nothing; a backslash goes on with the next line."""
_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S+)")
LARGEST = 1 << 30
"""Bytes that a wheelhouse may have; a usual one has a fortieth of that."""
_CHUNK = 1 << 20


class Wheelhouse(NamedTuple):
    """A checked copy that nobody else changes; ``version`` is that of the agent in it."""

    directory: str
    version: str
    sha256: str
    pip: str

    def path(self, name: str) -> str:
        """The path of one of its files."""
        return os.path.join(self.directory, name)


def parse_sha256(text: str) -> str:
    """Check that a text is a SHA-256 in hexadecimal; give it in lower case. Raises SourceError."""
    digest = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise SourceUsageError(
            f"--sha256 is {text!r}, and 64 hexadecimal digits were expected.",
            remedy="build-wheelhouse prints them; sha256sum FILE does too.",
        )
    return digest


def stage(source: str, *, sha256: str, into: str) -> Wheelhouse:
    """Copy a wheelhouse directory or archive into the empty directory ``into``, and check it there.

    Raises SourceError where it is not the one that was meant, or not whole.
    """
    try:
        if os.path.isdir(source):
            _copy_directory(source, into)
            _expect(_digest(os.path.join(into, SUMS)), sha256, f"{SUMS} in {source}")
        else:
            _unpack(source, sha256, into)
        _check_sums(into)
    except (tarfile.TarError, EOFError) as error:
        raise SourceError(f"{source} is not a .tar.gz archive that can be read: {error}.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # not the source's fault
        raise SourceError(f"{error.filename or source} cannot be read: {error.strerror or error}.") from error
    return _describe(into, sha256)


def _copy_directory(source: str, into: str) -> None:
    room = LARGEST
    for entry in sorted(os.scandir(source), key=lambda found: found.name):
        if not entry.is_file(follow_symlinks=False) or not _NAME.fullmatch(entry.name):
            raise SourceError(f"{entry.path} does not belong into a wheelhouse: only plain files do.")
        with open(entry.path, "rb") as file:
            room = _copy(file, os.path.join(into, entry.name), room)


def _unpack(source: str, sha256: str, into: str) -> None:
    copy = os.path.join(into, ".archive")
    with open(source, "rb") as file:
        _copy(file, copy, LARGEST)
    try:
        _expect(_digest(copy), sha256, source)
        room = LARGEST
        with tarfile.open(copy, "r:gz") as archive:
            for name, content in _plain_files(archive):
                room = _copy(content, os.path.join(into, name), room)
    finally:
        os.unlink(copy)


def _plain_files(archive: tarfile.TarFile) -> Iterator[tuple[str, BinaryIO]]:
    """Return name and content of each file; a directory around all of them is lifted."""
    for member in archive:
        name = member.name.removeprefix("./").rpartition("/")[2]
        content = archive.extractfile(member) if member.isreg() else None
        if content is not None and _NAME.fullmatch(name):
            yield name, content  # type: ignore[misc]  # a buffered reader, which the stubs call IO[bytes]
        elif not member.isdir():
            raise SourceError(f"{member.name!r} does not belong into a wheelhouse: only plain files do.")


def _copy(file: BinaryIO, destination: str, room: int) -> int:
    """Copy a file; give what is left of ``room``, the bytes that may still be written."""
    with open(destination, "xb") as out:
        while chunk := file.read(_CHUNK):
            room -= len(chunk)
            if room < 0:
                raise SourceError(f"The wheelhouse has more than {LARGEST} bytes; is this the right file?")
            out.write(chunk)
    return room


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _expect(found: str, desired: str, what: str) -> None:
    if found != desired:
        raise SourceError(
            f"The SHA-256 of {what} is {found}, and {desired} was expected. Nothing was installed.",
            remedy="The file was changed, cut short, or another one was meant.",
        )


def _check_sums(directory: str) -> None:
    path = os.path.join(directory, SUMS)
    if not os.path.isfile(path):
        raise SourceError(f"The wheelhouse has no {SUMS}.", remedy="Make it with userdata/build-wheelhouse.")
    listed = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            match = _LINE.fullmatch(line.rstrip("\n"))
            if match is None:
                raise SourceError(f"{SUMS} has a line that sha256sum does not write: {line.strip()!r}.")
            listed[match[2]] = match[1]
    there = set(os.listdir(directory)) - {SUMS}
    if there != set(listed):
        wrong = sorted(there.symmetric_difference(listed))
        raise SourceError(f"{SUMS} and the files of the wheelhouse differ: {', '.join(wrong)}.")
    for name, digest in listed.items():
        _expect(_digest(os.path.join(directory, name)), digest, name)


def _describe(directory: str, sha256: str) -> Wheelhouse:
    names = os.listdir(directory)
    agents = [match for name in names if (match := _AGENT.fullmatch(name))]
    pips = [name for name in names if _PIP.fullmatch(name)]
    missing = [name for name in (REQUIREMENTS, UNIT) if name not in names]
    if len(agents) != 1 or len(pips) != 1 or missing:
        lacking = missing or [f"{len(agents)} wheels of the agent, {len(pips)} of pip"]
        raise SourceError(
            f"This is not a wheelhouse of the agent: expected one wheel of each, {REQUIREMENTS} and {UNIT};"
            f" wrong: {', '.join(lacking)}.",
            remedy="Make it with userdata/build-wheelhouse.",
        )
    _check_requirements(os.path.join(directory, REQUIREMENTS))
    return Wheelhouse(directory, agents[0][1], sha256, pips[0])


def _check_requirements(path: str) -> None:
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if not _REQUIREMENT.fullmatch(line.rstrip("\n")):
                raise SourceError(
                    f"{REQUIREMENTS} has a line that is neither a pinned version nor a hash: {line.strip()!r}.",
                    remedy="Make the wheelhouse with userdata/build-wheelhouse.",
                )
