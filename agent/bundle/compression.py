"""Decompress an archive, whole and checked: its checksums, its lengths, and that nothing follows."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from agent.bundle.streams import CHUNK, ArchiveFile, ByteStream, ChunkStream, PlainStream
from agent.errors import BundleError

_DAMAGED = "It was damaged or cut short on its way: make it again and deploy the new one."

# An xz archive names the memory that its reader needs. `xz -9` needs 65 MiB; a crafted one may name 4 GiB.
_XZ_MEMORY = 128 * 1024 * 1024

GZIP = b"\x1f\x8b"

# Bytes of a compressed member that are handed to its decompressor first, before it is known how long it is.
_FIRST_STEP = 4096

# How files begin: what a wrong type or a wrong download looks like. Longest first where one begins another.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (GZIP, "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x5d\0\0", "lzma"),
    (b"LZIP", "lzip"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x89LZO\0", "lzop"),
    (b"\x1f\x9d", "compress"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"<?xml", "XML"),
    (b"<!DOCTYPE", "HTML"),
    (b"<html", "HTML"),
)


def looks_like(start: bytes) -> str:
    """What a file is by its first 512 bytes: "tar", "gzip", "zip", "xz" ...; "" when it is none of those known."""
    if start[257:262] == b"ustar":
        return "tar"
    return next((name for magic, name in _MAGIC if start.startswith(magic)), "")


def open_tar_stream(archive: ArchiveFile, bundle_type: str) -> ByteStream:
    """The tar bytes of an archive of type ``tar`` or ``tgz``.

    As with the official agent, ``tar`` may be compressed by any program that tar knows, and ``tgz`` must be gzip.
    Raises BundleError for a compression that cannot be undone here.
    """
    kind = looks_like(archive.at(0, 512))
    if bundle_type == "tgz":
        if kind != "gzip":
            raise _wrong_type(archive, kind)
        return _in_chunks(archive, _gunzip)
    if kind in _DECOMPRESSORS:
        return _in_chunks(archive, _DECOMPRESSORS[kind])
    if kind not in ("", "tar"):
        raise _wrong_type(archive, kind)
    return PlainStream(archive)


def expected_size(archive: ArchiveFile) -> int:
    """A guess at the size of the tar inside: what a gzip file says at its end (modulo 4 GiB, if true), or its own."""
    if archive.at(0, 2) == GZIP:
        return int.from_bytes(archive.at(max(0, archive.size - 4), 4), "little")
    return archive.size


def _in_chunks(archive: ArchiveFile, decompress: Callable[[ArchiveFile], Iterator[bytes]]) -> ChunkStream:
    return ChunkStream(decompress(archive))


def _wrong_type(archive: ArchiveFile, kind: str) -> BundleError:
    types = {"tar": "tar", "gzip": "tgz", "zip": "zip"}
    if kind in ("HTML", "XML"):
        remedy = "It may be an error page that was saved in the bundle's place: look into it."
    elif kind in types:
        remedy = f"Give its type as {types[kind]}."
    else:
        remedy = "Make the bundle as tar, tgz or zip."
    found = f"it looks like {kind}" if kind else "it begins like none of the known formats"
    return archive.error(f"a gzip-compressed or plain tar archive was expected, and {found}", remedy=remedy)


class _Decompressor(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Packed:
    """The bytes of an archive, handed out in growing pieces to each compressed member.

    A member that ends copies what it was handed too much, so a member of a few bytes must not be handed many.
    """

    def __init__(self, archive: ArchiveFile) -> None:
        self._archive = archive
        self._data = b""
        self._at = 0
        self._step = _FIRST_STEP

    def next(self) -> bytes:
        """Return the next piece, b"" at the end."""
        if self._at == len(self._data):
            self._data, self._at = self._archive.read(), 0
        piece = self._data[self._at : self._at + self._step]
        self._at += len(piece)
        self._step = min(2 * self._step, CHUNK // 4)
        return piece

    def begins(self, unused: bytes) -> bool:
        """Go back to the end of a member; tell whether another one follows.

        The zeros that tapes and disks leave do not count.
        """
        self._step = _FIRST_STEP
        self._at -= len(unused)
        while True:
            while self._at < len(self._data):
                piece = self._data[self._at : self._at + self._step].lstrip(b"\0")
                if piece:
                    self._at += min(self._step, len(self._data) - self._at) - len(piece)
                    return True
                self._at = min(self._at + self._step, len(self._data))
            self._data, self._at = self._archive.read(), 0
            if not self._data:
                return False


def _gunzip(archive: ArchiveFile) -> Iterator[bytes]:
    packed = _Packed(archive)
    data = b""
    while True:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            data = data or packed.next()
            if not data:
                raise _cut_short(archive, "gzip")
            try:
                chunk = member.decompress(data, CHUNK)
            except zlib.error as error:
                raise _damaged(archive, "gzip", error) from error
            data = member.unconsumed_tail
            if chunk:
                yield chunk
        if not packed.begins(member.unused_data):
            return
        data = packed.next()
        if not data.startswith(GZIP[: len(data)]):
            raise archive.error("something that is not gzip follows after its end", remedy=_DAMAGED)


def _by_members(archive: ArchiveFile, kind: str, start: Callable[[], _Decompressor]) -> Iterator[bytes]:
    packed = _Packed(archive)
    more = True
    while more:
        member = start()
        while not member.eof:
            data = packed.next() if member.needs_input else b""
            if member.needs_input and not data:
                raise _cut_short(archive, kind)
            try:
                chunk = member.decompress(data, CHUNK)
            except (OSError, ValueError, EOFError, MemoryError) as error:
                raise _damaged(archive, kind, error) from error
            if chunk:
                yield chunk
        more = packed.begins(member.unused_data)


def _bunzip2(archive: ArchiveFile) -> Iterator[bytes]:
    # Here and below: only an archive of that kind needs the module, and some builds of Python do without it.
    try:
        import bz2
    except ImportError as error:
        raise _cannot(archive, "bzip2") from error
    yield from _by_members(archive, "bzip2", bz2.BZ2Decompressor)


def _unxz(archive: ArchiveFile) -> Iterator[bytes]:
    try:
        import lzma
    except ImportError as error:
        raise _cannot(archive, "xz") from error

    try:
        yield from _by_members(archive, "xz", lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY))
    except lzma.LZMAError as error:
        raise _damaged(archive, "xz", error) from error


def _unzstd(archive: ArchiveFile) -> Iterator[bytes]:
    import subprocess

    os.lseek(archive.descriptor, 0, os.SEEK_SET)
    try:
        program = subprocess.Popen(
            ["zstd", "-dcq"],
            stdin=archive.descriptor,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise _cannot(archive, "zstd") from error
    with program:
        assert program.stdout is not None
        assert program.stderr is not None
        try:
            while chunk := program.stdout.read(CHUNK):
                archive.position = os.lseek(archive.descriptor, 0, os.SEEK_CUR)
                yield chunk
            message = program.stderr.read(500).decode(errors="replace").strip()
            if program.wait() != 0:
                raise archive.error(f"its zstd data cannot be decompressed ({message})", remedy=_DAMAGED)
        finally:
            if program.poll() is None:
                program.kill()


_DECOMPRESSORS: dict[str, Callable[[ArchiveFile], Iterator[bytes]]] = {
    "gzip": _gunzip,
    "bzip2": _bunzip2,
    "xz": _unxz,
    "lzma": _unxz,
    "zstd": _unzstd,
}


def _cut_short(archive: ArchiveFile, kind: str) -> BundleError:
    return archive.error(f"its {kind} data ends too early, after {archive.size} bytes", remedy=_DAMAGED)


def _damaged(archive: ArchiveFile, kind: str, error: BaseException) -> BundleError:
    return archive.error(f"its {kind} data is damaged ({error})", remedy=_DAMAGED)


def _cannot(archive: ArchiveFile, kind: str) -> BundleError:
    remedy = f"Install {kind} on this host, or make the bundle as tgz."
    return archive.error(f"it is compressed with {kind}, which this host cannot undo", remedy=remedy)
