"""Sparse files in tar archives: which pieces of a file the archive holds, and where they belong.

Four forms are in use: GNU's old one, with the map in and behind the header, and the pax forms 0.0, 0.1 and 1.0
(GNU tar manual, "Storing Sparse Files").
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from agent.bundle.streams import ByteStream
from agent.bundle.tar_headers import BLOCK, SPARSE, Header, HeaderError, decimal, number

_MOST_PIECES = 200_000

_BAD_MAP = "is a sparse file whose map contradicts itself"


@dataclass(slots=True)
class SparseFile:
    """The size of the whole file, and its pieces as (offset, length) in the order of the archive's data."""

    size: int
    pieces: list[tuple[int, int]]

    def check(self, stored: int) -> None:
        """Refuse a map whose pieces overlap, leave the file, or are not as long as the stored data. HeaderError."""
        end = 0
        for offset, length in self.pieces:
            if offset < end or offset + length > self.size:
                raise HeaderError(_BAD_MAP)
            end = offset + length
        if sum(length for _, length in self.pieces) != stored:
            raise HeaderError(_BAD_MAP)

    def write(self, stream: ByteStream, descriptor: int, moved: Callable[[], None]) -> bool:
        """Write the pieces to their places; the rest stays a hole. False: the archive ends too early."""
        os.ftruncate(descriptor, self.size)
        for offset, length in self.pieces:
            os.lseek(descriptor, offset, os.SEEK_SET)
            if not stream.copy_to(descriptor, length, moved):
                return False
        return True


def read_map(header: Header, block: bytes, stream: ByteStream) -> SparseFile | None:
    """The map of an entry, or None if the entry is an ordinary file.

    Where the map lies before the data in the stream it is read from there, and ``header.size`` is what is left.
    The name of the entry is put right too. Raises HeaderError.
    """
    if header.type == SPARSE:
        sparse = _old_gnu(block, stream)
    elif header.pax and _version(header.pax) == (b"1", b"0"):
        sparse = SparseFile(_real_size(header.pax, "GNU.sparse.realsize"), _pax_1_0(header, stream))
    elif header.pax and "GNU.sparse.map" in header.pax:
        numbers = _numbers(header.pax["GNU.sparse.map"].split(b","))
        sparse = SparseFile(_real_size(header.pax, "GNU.sparse.size"), _pairs(numbers))
    elif header.pax and "GNU.sparse.offset" in header.pax:
        offsets = _numbers(header.pax["GNU.sparse.offset"].split(b","))
        lengths = _numbers(header.pax.get("GNU.sparse.numbytes", b"").split(b","))
        if len(offsets) != len(lengths):
            raise HeaderError(_BAD_MAP)
        sparse = SparseFile(_real_size(header.pax, "GNU.sparse.size"), list(zip(offsets, lengths, strict=True)))
    else:
        return None
    if header.pax and (name := header.pax.get("GNU.sparse.name")):
        header.name = name
    sparse.check(header.size)
    return sparse


def _version(pax: dict[str, bytes]) -> tuple[bytes | None, bytes | None]:
    return pax.get("GNU.sparse.major"), pax.get("GNU.sparse.minor")


def _real_size(pax: dict[str, bytes], keyword: str) -> int:
    return decimal(pax.get(keyword, b""), keyword)


def _old_gnu(block: bytes, stream: ByteStream) -> SparseFile:
    pieces = _entries(block[386 : 386 + 4 * 24])
    more = block[482]
    while more:
        if not stream.need(BLOCK) or len(pieces) > _MOST_PIECES:
            raise HeaderError(_BAD_MAP)
        extension = stream.buffer[stream.position : stream.position + BLOCK]
        stream.position += BLOCK
        pieces += _entries(extension[: 21 * 24])
        more = extension[504]
    return SparseFile(number(block[483:495]), pieces)


def _entries(table: bytes) -> list[tuple[int, int]]:
    fields = [table[at : at + 12] for at in range(0, len(table), 12)]
    # Places that are not used hold NULs only.
    return _pairs([number(text) for text in fields if text.strip(b"\0")])


def _pax_1_0(header: Header, stream: ByteStream) -> list[tuple[int, int]]:
    """The map at the start of the data: a count and that many pairs, one number a line, padded to whole blocks."""
    text = b""
    wanted = 1
    while text.count(b"\n") < wanted:
        if header.size < BLOCK or not stream.need(BLOCK):
            raise HeaderError(_BAD_MAP)
        text += stream.buffer[stream.position : stream.position + BLOCK]
        stream.position += BLOCK
        header.size -= BLOCK
        if wanted == 1 and b"\n" in text:
            wanted = 1 + 2 * _numbers([text.split(b"\n", 1)[0]])[0]
    return _pairs(_numbers(text.split(b"\n")[1:wanted]))


def _numbers(texts: list[bytes]) -> list[int]:
    if len(texts) > 2 * _MOST_PIECES or not all(text.isdigit() and len(text) < 20 for text in texts):
        raise HeaderError(_BAD_MAP)
    return [int(text) for text in texts]


def _pairs(numbers: list[int]) -> list[tuple[int, int]]:
    if len(numbers) % 2:
        raise HeaderError(_BAD_MAP)
    return list(zip(numbers[::2], numbers[1::2], strict=True))
