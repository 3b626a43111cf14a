"""The directory at the end of a zip archive: what is in it, where, and whether that can be true.

Own code because ``zipfile`` costs start-up time, keeps a large object for every entry, and does not compare what
an archive says in two places. Layout: PKWARE's APPNOTE.TXT, sections 4.3 and 4.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from agent.bundle.names import MAKE_IT_AGAIN, entry_error
from agent.bundle.space import Need
from agent.bundle.streams import CHUNK, ArchiveFile
from agent.errors import BundleError

LOCAL = b"PK\x03\x04"
_CENTRAL = b"PK\x01\x02"
_END = b"PK\x05\x06"
_END_64 = b"PK\x06\x06"
_LOCATOR_64 = b"PK\x06\x07"

_CENTRAL_HEADER = struct.Struct("<4sBBHHHHHIIIHHHHHII")
_END_RECORD = struct.Struct("<4sHHHHIIH")
_END_64_RECORD = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR_64_RECORD = struct.Struct("<4sIQI")

# The end record is followed by a comment of at most 64 KiB; unzip forgives about as much of anything else.
_END_IS_WITHIN = 2 * 65536 + _END_RECORD.size

_TOO_LARGE_16 = 0xFFFF
_TOO_LARGE_32 = 0xFFFFFFFF
_ZIP64_EXTRA = 1


class ZipEntry(NamedTuple):
    """One entry as the directory describes it; ``offset`` is that of its local header in the file."""

    name: bytes
    host: int
    flags: int
    method: int
    dos_time: int
    dos_date: int
    crc: int
    stored: int
    size: int
    attributes: int
    offset: int
    extra: bytes


class ZipDirectory:
    """Iterates over the entries of an archive, as often as one likes, without keeping them. Raises BundleError."""

    def __init__(self, archive: ArchiveFile) -> None:
        self._archive = archive
        self._count = 0
        self.start = 0
        self._size = 0
        self._shift = 0
        self._is_64 = False
        self._find_end()

    def __iter__(self) -> Iterator[ZipEntry]:
        buffer = b""
        position = 0
        read = 0
        found = 0
        while position < len(buffer) or read < self._size:
            if len(buffer) - position < _CENTRAL_HEADER.size + 3 * 65536 and read < self._size:
                more = self._archive.at(self.start + read, min(CHUNK, self._size - read))
                buffer = buffer[position:] + more
                position = 0
                read += len(more)
                if not more:
                    break
            entry, position = self._entry(buffer, position)
            found += 1
            yield entry
        if found != self._count and (self._is_64 or found % 65536 != self._count):
            what = f"its directory lists {found} entries and says that it has {self._count}"
            raise self._archive.error(what, remedy=MAKE_IT_AGAIN)

    def check(self, need: Need) -> None:
        """Add all entries to ``need``, and refuse an archive in which two of them share their bytes.

        That is how a few kilobytes become terabytes; no program writes such an archive for another purpose.
        """
        spans = []
        for entry in self:
            need.add(entry.size)
            end = entry.offset + 30 + len(entry.name) + entry.stored
            if end > self.start:
                raise entry_error(self._archive.path, entry.name, "has content that lies outside the archive")
            spans.append(entry.offset << 64 | end)  # one number for each: there may be 100,000
        spans.sort()
        previous = 0
        for span in spans:
            if span >> 64 < previous:
                what = "has entries that overlap, as only archives have that are made to do harm"
                raise self._archive.error(f"it {what}", remedy=MAKE_IT_AGAIN)
            previous = span & (1 << 64) - 1

    def _entry(self, buffer: bytes, position: int) -> tuple[ZipEntry, int]:
        try:
            (
                signature, _, host, _, flags, method, dos_time, dos_date, crc, stored, size,
                name_length, extra_length, comment_length, _, _, attributes, offset,
            ) = _CENTRAL_HEADER.unpack_from(buffer, position)  # fmt: skip
        except struct.error:
            raise self._broken() from None
        name_end = position + _CENTRAL_HEADER.size + name_length
        extra_end = name_end + extra_length
        end = extra_end + comment_length
        if signature != _CENTRAL or end > len(buffer):
            raise self._broken()
        name = buffer[position + _CENTRAL_HEADER.size : name_end]
        extra = buffer[name_end:extra_end]
        if _TOO_LARGE_32 in (size, stored, offset):
            size, stored, offset = self._large_numbers(name, extra, [size, stored, offset])
        offset += self._shift
        return ZipEntry(
            name, host, flags, method, dos_time, dos_date, crc, stored, size, attributes, offset, extra
        ), end

    def _large_numbers(self, name: bytes, extra: bytes, numbers: list[int]) -> list[int]:
        """Put the 64-bit numbers in the places of those that did not fit; they come in the same order."""
        large = extra_field(extra, _ZIP64_EXTRA)
        position = 0
        for index, value in enumerate(numbers):
            if value != _TOO_LARGE_32:
                continue
            # Without the extra field it is the plain number 4294967295.
            if large:
                if position + 8 > len(large):
                    raise entry_error(self._archive.path, name, "has a damaged zip64 field")
                numbers[index] = int.from_bytes(large[position : position + 8], "little")
                position += 8
        return numbers

    def _find_end(self) -> None:
        archive = self._archive
        tail_start = max(0, archive.size - _END_IS_WITHIN)
        tail = archive.at(tail_start, _END_IS_WITHIN)
        at = tail.rfind(_END)
        while at >= 0:
            if at + _END_RECORD.size <= len(tail) and self._use_end(tail_start + at, tail, at):
                return
            at = tail.rfind(_END, 0, at)
        if archive.at(0, 4) == LOCAL:
            what = "it is cut short: the directory that ends a zip archive is missing"
        else:
            what = "it does not look like a zip archive: it has no directory at its end"
        raise archive.error(what, remedy="Check the type that was given for the bundle, and that the bundle is whole.")

    def _use_end(self, end: int, tail: bytes, at: int) -> bool:
        """Take the directory that an end record describes. False: there is no directory where it says."""
        _, disk, first_disk, _, count, size, offset, _ = _END_RECORD.unpack_from(tail, at)
        locator = self._archive.at(end - _LOCATOR_64_RECORD.size, _LOCATOR_64_RECORD.size) if end >= 20 else b""
        is_64 = locator[:4] == _LOCATOR_64
        if is_64:
            found = self._end_64(end, locator)
            if found is None:
                return False
            end, count, size, offset = found
        elif (disk not in (0, _TOO_LARGE_16)) or (first_disk not in (0, _TOO_LARGE_16)):
            raise self._archive.error("it is one part of a zip archive of several parts", remedy="Make one file of it.")
        for start in (end - size, offset):
            # The first is right whatever stands before the archive, the second whatever stands behind the directory.
            if start < offset or start + size > end or (size and self._archive.at(start, 4) != _CENTRAL):
                continue
            self.start, self._size, self._count, self._is_64 = start, size, count, is_64
            self._shift = start - offset
            return True
        return False

    def _end_64(self, end: int, locator: bytes) -> tuple[int, int, int, int] | None:
        stated = _LOCATOR_64_RECORD.unpack(locator)[2]
        for at in (stated, end - _LOCATOR_64_RECORD.size - _END_64_RECORD.size):
            if 0 <= at < end:
                record = self._archive.at(at, _END_64_RECORD.size)
                if record[:4] == _END_64 and len(record) == _END_64_RECORD.size:
                    *_, count, size, offset = _END_64_RECORD.unpack(record)
                    return at, count, size, offset
        return None

    def _broken(self) -> BundleError:
        return self._archive.error("the directory of the zip archive is damaged", remedy=MAKE_IT_AGAIN)


def extra_field(extra: bytes, expected: int) -> bytes:
    """The data of one extra field; b"" when it is not there or does not fit."""
    position = 0
    while position + 4 <= len(extra):
        kind = int.from_bytes(extra[position : position + 2], "little")
        length = int.from_bytes(extra[position + 2 : position + 4], "little")
        if kind == expected:
            return extra[position + 4 : position + 4 + length]
        position += 4 + length
    return b""
