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
_LONGEST_NUMBER = 20

# One at the end says how long the file is; more would be work that writes nothing.
_MOST_EMPTY_PIECES = 16

_BAD_MAP = "is a sparse file whose map contradicts itself"


@dataclass(slots=True)
class SparseFile:
    """The size of the whole file, and its pieces as (offset, length) in the order of the archive's data."""

    size: int
    pieces: list[tuple[int, int]]

    def check(self, stored: int) -> None:
        """Refuse a map whose pieces overlap, leave the file, or are not as long as the stored data; join the others.

        Raises HeaderError.
        """
        end = empty = total = 0
        joined: list[tuple[int, int]] = []
        for offset, length in self.pieces:
            if offset < end or offset + length > self.size:
                raise HeaderError(_BAD_MAP)
            if not length:
                empty += 1
            elif joined and offset == end:
                joined[-1] = (joined[-1][0], joined[-1][1] + length)
            else:
                joined.append((offset, length))
            end = offset + length
            total += length
        if total != stored or empty > _MOST_EMPTY_PIECES:
            raise HeaderError(_BAD_MAP)
        self.pieces = joined

    def write(self, stream: ByteStream, descriptor: int, moved: Callable[[], None]) -> bool:
        """Write the pieces to their places; the rest stays a hole. False: the archive ends too early."""
        os.ftruncate(descriptor, self.size)
        for offset, length in self.pieces:
            os.lseek(descriptor, offset, os.SEEK_SET)
            if not stream.copy_to(descriptor, length, moved):
                return False
        return True


def read_map(header: Header, block: bytes, stream: ByteStream, passed_over: Callable[[int], None]) -> SparseFile | None:
    """Return the map of an entry, None if the entry is an ordinary file.

    Where the map lies before the data in the stream it is read from there, and ``header.size`` is what is left;
    ``passed_over`` is called with the size of each part of it. The name of the entry is put right too. Raises
    HeaderError.
    """
    if header.type == SPARSE:
        sparse = _old_gnu(block, stream, passed_over)
    elif header.pax and _version(header.pax) == (b"1", b"0"):
        size = _real_size(header.pax, "GNU.sparse.realsize")
        sparse = SparseFile(size, _pax_1_0(header, stream, passed_over))
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


def _old_gnu(block: bytes, stream: ByteStream, passed_over: Callable[[int], None]) -> SparseFile:
    pieces = _entries(block[386 : 386 + 4 * 24])
    more = block[482]
    while more:
        passed_over(BLOCK)
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


def _pax_1_0(header: Header, stream: ByteStream, passed_over: Callable[[int], None]) -> list[tuple[int, int]]:
    """Return the map at the start of the data: a count and that many pairs, one number a line, in whole blocks."""
    blocks: list[bytes] = []
    lines, needed = 0, 1
    while lines < needed:
        passed_over(BLOCK)
        if header.size < BLOCK or not stream.need(BLOCK):
            raise HeaderError(_BAD_MAP)
        block = stream.buffer[stream.position : stream.position + BLOCK]
        stream.position += BLOCK
        header.size -= BLOCK
        if not blocks:
            (pieces,) = _numbers([block.split(b"\n", 1)[0]])
            if pieces > _MOST_PIECES:
                raise HeaderError(_BAD_MAP)
            needed += 2 * pieces
        blocks.append(block)
        found = block.count(b"\n")
        if not found:  # no number is as long as a block
            raise HeaderError(_BAD_MAP)
        lines += found
    return _pairs(_numbers(b"".join(blocks).split(b"\n")[1:needed]))


def _numbers(texts: list[bytes]) -> list[int]:
    if len(texts) > 2 * _MOST_PIECES or not all(len(text) < _LONGEST_NUMBER and text.isdigit() for text in texts):
        raise HeaderError(_BAD_MAP)
    return [int(text) for text in texts]


def _pairs(numbers: list[int]) -> list[tuple[int, int]]:
    if len(numbers) % 2:
        raise HeaderError(_BAD_MAP)
    return list(zip(numbers[::2], numbers[1::2], strict=True))
