"""Zip archives: read the entries in the order of the directory and hand each to the writer."""

from __future__ import annotations

import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from struct import Struct

from agent.bundle.names import clean, entry_error
from agent.bundle.space import Need
from agent.bundle.streams import CHUNK, ArchiveFile, in_background
from agent.bundle.writer import DEFAULT_DIRECTORY_MODE, TreeWriter
from agent.bundle.zip_directory import LOCAL, ZipDirectory, ZipEntry, extra_field
from agent.errors import BundleError
from agent.filesystem.durable import write_all

_LOCAL_HEADER = Struct("<4sHHHHHIIIHH")

_STORED, _DEFLATED, _BZIP2 = 0, 8, 12
_METHODS = {1: "shrink", 6: "implode", 9: "deflate64", 14: "LZMA", 93: "zstd", 95: "xz", 98: "PPMd"}

_ENCRYPTED = 0x1
_SIZES_FOLLOW = 0x8
_UTF8 = 0x800

_HOST_DOS = 0
_HOST_UNIX = 3

_TIME_EXTRA = 0x5455
_NAME_EXTRA = 0x7075

# Longer contents are not gathered in memory but go to the file as they come.
_SMALL = 128 * 1024

_LONGEST_LINK = 4096

# Bytes that are read at a place that does not follow the last one.
_FIRST_READ = 4096

_SPECIAL = {
    stat.S_IFIFO: "a named pipe (fifo)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class ZipReader:
    """Unpacks one zip archive.

    The rules are those of ``unzip``, which the official agent runs: leading slashes and ``..`` are dropped from
    names (``reject_traversal`` refuses them), modes come from Unix attributes or are made from DOS ones, setuid and
    owners are not restored. Every checksum and size is compared.
    """

    def __init__(
        self,
        archive: ArchiveFile,
        writer: TreeWriter,
        *,
        umask: int,
        reject_traversal: bool,
        progress: Callable[[], None],
    ) -> None:
        self._archive = archive
        self._writer = writer
        self._umask = umask
        self._reject_traversal = reject_traversal
        self._progress = progress
        self._directory = ZipDirectory(archive)
        self._window = b""
        self._window_at = 0

    def count(self, need: Need) -> None:
        """Add all entries to ``need``. Raises BundleError where the directory cannot be true."""
        self._directory.check(need)

    def unpack(self) -> None:
        """Write all entries. Raises BundleError, OSError."""
        for entry in self._directory:
            self._writer.current = entry.name
            self._unpack_entry(entry)
            self._progress()

    def _unpack_entry(self, entry: ZipEntry) -> None:
        name, is_directory = self._name(entry)
        start = self._content(entry)
        kind = stat.S_IFMT(entry.attributes >> 16) if entry.host == _HOST_UNIX else 0
        if kind in _SPECIAL:
            raise self._error(entry, f"is {_SPECIAL[kind]}, and a revision may hold only files, directories and links")
        mode = _mode(entry, is_directory, self._umask)
        mtime = _mtime(entry)
        if is_directory:
            if entry.size:
                raise self._error(entry, f"is a directory by its name and has {entry.size} bytes of content")
            self._writer.make_directory(name, mode, None, mtime)
        elif kind == stat.S_IFLNK:
            if entry.size > _LONGEST_LINK or entry.stored > 2 * _LONGEST_LINK:
                raise self._error(entry, f"is a symbolic link whose target has {entry.size} bytes")
            self._writer.make_symlink(name, self._small_content(entry, start), None, mtime)
        elif entry.size <= _SMALL and entry.stored <= _SMALL and entry.method != _BZIP2:
            self._writer.write_file(name, self._small_content(entry, start), mode, None, mtime)
        else:
            self._writer.fill_file(name, entry.size, lambda target: self._fill(entry, start, target), mode, None, mtime)

    def _name(self, entry: ZipEntry) -> tuple[bytes, bool]:
        """The clean name of an entry, and whether it is a directory."""
        raw = entry.name
        if not entry.flags & _UTF8 and entry.host == _HOST_DOS and not raw.isascii():
            raw = _from_code_page(raw, entry.extra)
        if entry.host == _HOST_DOS and b"\\" in raw and b"/" not in raw:
            raw = raw.replace(b"\\", b"/")  # as some programs on Windows write it, against the format
        if b"\0" in raw:
            raise self._error(entry, "has a NUL byte in its name")
        name, led_out = clean(raw)
        if led_out and self._reject_traversal:
            raise self._error(entry, "has a name that leads out, which reject_path_traversal_in_bundle refuses")
        is_directory = raw[-1:] == b"/"
        if not name and not is_directory:
            raise self._error(entry, "has no name of its own, and is not a directory")
        return name, is_directory

    def _content(self, entry: ZipEntry) -> int:
        """Where an entry's data begins, after its local header, which must say what the directory says."""
        length = _LOCAL_HEADER.size + len(entry.name)
        header = self._read(entry.offset, length)
        if len(header) < length or header[:4] != LOCAL:
            raise self._error(entry, "is not where the archive's directory says")
        _, _, flags, method, _, _, crc, stored, size, name_length, extra_length = _LOCAL_HEADER.unpack_from(header)
        if (flags | entry.flags) & _ENCRYPTED:
            remedy = "The agent has no password to give: make the archive without encryption."
            raise entry_error(self._archive.path, entry.name, "is encrypted", remedy=remedy)
        same = method == entry.method and header[_LOCAL_HEADER.size :] == entry.name and name_length == len(entry.name)
        if same and not flags & _SIZES_FOLLOW and 0xFFFFFFFF not in (stored, size):
            same = (crc, stored, size) == (entry.crc, entry.stored, entry.size)
        if not same:
            raise self._error(
                entry, "is described in one way in the archive's directory and in another way in its place"
            )
        start = entry.offset + length + extra_length
        if start + entry.stored > self._directory.start:
            raise self._error(entry, "has content that lies outside the archive")
        return int(start)

    def _small_content(self, entry: ZipEntry, start: int) -> bytes:
        data = self._read(start, entry.stored)
        self._archive.position += entry.stored
        if entry.method == _DEFLATED and (data or entry.size):
            # Never more than one byte too many: what an entry says about its size may be a lie.
            inflater = zlib.decompressobj(-15)
            try:
                data = inflater.decompress(data, entry.size + 1)
            except zlib.error as error:
                raise self._damaged(entry, error) from error
            if not inflater.eof and len(data) <= entry.size:
                raise self._error(entry, "is cut short: its compressed data does not end")
        elif entry.method not in (_STORED, _DEFLATED):
            data = b"".join(self._checked_length(entry, self._chunks(entry, start)))
        self._check(entry, len(data), zlib.crc32(data))
        return data

    def _fill(self, entry: ZipEntry, start: int, target: int) -> None:
        crc = length = 0
        chunks = in_background(self._chunks(entry, start), entry.stored if entry.method != _STORED else 0)
        with closing(chunks):
            for chunk in self._checked_length(entry, chunks):
                write_all(target, chunk)
                crc = zlib.crc32(chunk, crc)
                length += len(chunk)
                self._progress()
        self._check(entry, length, crc)

    def _checked_length(self, entry: ZipEntry, chunks: Iterator[bytes]) -> Iterator[bytes]:
        length = 0
        for chunk in chunks:
            length += len(chunk)
            if length > entry.size:
                self._check(entry, length, 0)
            yield chunk

    def _chunks(self, entry: ZipEntry, start: int) -> Iterator[bytes]:
        """The content of an entry in pieces of at most 256 KiB."""
        pieces = self._stored_chunks(entry, start)
        if entry.method == _STORED:
            yield from pieces
        elif entry.method == _DEFLATED:
            yield from self._inflate(entry, pieces)
        elif entry.method == _BZIP2:
            yield from self._bunzip2(entry, pieces)
        else:
            method = _METHODS.get(entry.method, "an unknown method")
            remedy = "Make the archive with the usual deflate method."
            what = f"is compressed with {method} (number {entry.method})"
            raise entry_error(self._archive.path, entry.name, what, remedy=remedy)

    def _stored_chunks(self, entry: ZipEntry, start: int) -> Iterator[bytes]:
        for at in range(start, start + entry.stored, CHUNK):
            piece = self._archive.at(at, min(CHUNK, start + entry.stored - at))
            self._archive.position += len(piece)
            yield piece

    def _inflate(self, entry: ZipEntry, pieces: Iterator[bytes]) -> Iterator[bytes]:
        inflater = zlib.decompressobj(-15)
        try:
            for piece in pieces:
                rest = piece
                while rest and not inflater.eof:
                    chunk = inflater.decompress(rest, CHUNK)
                    rest = inflater.unconsumed_tail
                    if chunk:
                        yield chunk
            # All input may be in while a last copied string, at most 258 bytes, is not out yet.
            if not inflater.eof and (chunk := inflater.flush()):
                yield chunk
        except zlib.error as error:
            raise self._damaged(entry, error) from error
        if not inflater.eof:
            raise self._error(entry, "is cut short: its compressed data does not end")

    def _bunzip2(self, entry: ZipEntry, pieces: Iterator[bytes]) -> Iterator[bytes]:
        import bz2  # hardly any zip archive needs it

        decompressor = bz2.BZ2Decompressor()
        try:
            for piece in pieces:
                rest = piece
                while not decompressor.eof and (rest or not decompressor.needs_input):
                    chunk = decompressor.decompress(rest, CHUNK)
                    rest = b""
                    if chunk:
                        yield chunk
        except OSError as error:
            raise self._damaged(entry, error) from error
        if not decompressor.eof:
            raise self._error(entry, "is cut short: its compressed data does not end")

    def _read(self, offset: int, count: int) -> bytes:
        """Bytes of the archive through a window, because entries mostly lie one after the other."""
        at = offset - self._window_at
        if at < 0 or at + count > len(self._window):
            # Entries that are not in the order of the archive would have the same bytes read again and again.
            is_next = 0 <= at <= len(self._window) + CHUNK
            self._window = self._archive.at(offset, max(count, CHUNK if is_next else _FIRST_READ))
            self._window_at = offset
            at = 0
        return self._window[at : at + count]

    def _check(self, entry: ZipEntry, length: int, crc: int) -> None:
        if length != entry.size:
            more = "more" if length > entry.size else "fewer"
            raise self._error(entry, f"has {more} bytes in it than the {entry.size} that the archive says")
        if crc != entry.crc:
            raise self._error(entry, f"is damaged: its checksum is {crc:08x} and should be {entry.crc:08x}")

    def _damaged(self, entry: ZipEntry, error: Exception) -> BundleError:
        return self._error(entry, f"has damaged compressed data ({error})")

    def _error(self, entry: ZipEntry, what: str) -> BundleError:
        return entry_error(self._archive.path, entry.name, what)


def _mode(entry: ZipEntry, is_directory: bool, umask: int) -> int:
    unix = entry.attributes >> 16
    if entry.host == _HOST_UNIX and unix:
        return unix & 0o777
    write = 0 if entry.host != _HOST_UNIX and entry.attributes & 1 else 2
    bits = write | (1 if is_directory else 0)
    # PKZIP for Unix calls itself DOS; unzip believes its Unix mode where it agrees with the DOS attributes.
    if entry.host == _HOST_DOS and unix & 0o700 == 0o400 | bits << 6:
        return unix & 0o777
    return (0o444 | bits * 0o111) & (DEFAULT_DIRECTORY_MODE if is_directory else 0o777) & ~umask


def _mtime(entry: ZipEntry) -> int:
    """Nanoseconds: the Unix time where the archive has it, else the DOS time, which is local time without a zone."""
    extra = extra_field(entry.extra, _TIME_EXTRA) if entry.extra else b""
    if len(extra) >= 5 and extra[0] & 1:
        return int.from_bytes(extra[1:5], "little", signed=True) * 1_000_000_000
    date, clock = entry.dos_date, entry.dos_time
    fields = ((date >> 9) + 1980, date >> 5 & 15, date & 31, clock >> 11, clock >> 5 & 63, (clock & 31) * 2)
    return int(time.mktime((*fields, 0, 0, -1))) * 1_000_000_000


def _from_code_page(raw: bytes, extra: bytes) -> bytes:
    """A name in UTF-8 for one that a program on DOS wrote without saying in which code."""
    field = extra_field(extra, _NAME_EXTRA)
    if len(field) > 5 and int.from_bytes(field[1:5], "little") == zlib.crc32(raw):
        return field[5:]
    try:
        raw.decode("utf-8")
        return raw
    except UnicodeDecodeError:
        return raw.decode("cp437").encode("utf-8")
