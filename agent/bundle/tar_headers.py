"""Headers of tar archives: ustar, GNU and pax, read from bytes into values.

Own code because ``tarfile`` reads 10,000 headers in the time in which all of this unpacks them, keeps every
member in memory, and in Python 3.11.2 has no filters. Field layout: POSIX.1-2017 pax, "ustar Interchange Format",
and the GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

from agent.bundle.names import LONGEST_NAME

BLOCK = 512

# name, mode, uid, gid, size, mtime, checksum, type, linkname, magic, uname, gname, device numbers, prefix
_HEADER = Struct("100s24s12s12s8sc100s8s64s16s155s12x")
assert _HEADER.size == BLOCK

_LARGEST = 1 << 62

REGULAR = b"0"
HARD_LINK = b"1"
SYMLINK = b"2"
DIRECTORY = b"5"
SPARSE = b"S"
DUMPED_DIRECTORY = b"D"
VOLUME_LABEL = b"V"

REFUSED_TYPES = {
    b"3": "is a character device",
    b"4": "is a block device",
    b"6": "is a named pipe (fifo)",
    b"M": "is continued from another volume",
    b"N": "has an obsolete GNU long name",
}


class HeaderError(ValueError):
    """A header is not what the format allows; the text is the end of a sentence that begins with the entry."""


@dataclass(slots=True)
class Header:
    """One entry as its header block describes it. ``names`` are the raw user and group fields of the owner."""

    name: bytes
    type: bytes
    size: int
    mode: int
    uid: int
    gid: int
    mtime: int
    """Nanoseconds since 1970."""
    link: bytes
    user: bytes
    group: bytes
    pax: dict[str, bytes] | None = None


def checksum_is_right(block: bytes) -> bool:
    """Compare the sum of a header's bytes with the sum that it names, which counts its own field as spaces."""
    try:
        stated = number(block[148:156])
    except HeaderError:
        return False
    # The low half of an Adler checksum is one plus the plain sum of the bytes, modulo 65521; that is the plain sum
    # in a tenth of the time, and good enough to tell a header from anything else.
    plain = (zlib.adler32(block) & 0xFFFF) - 1
    if (plain - sum(block[148:156]) + 256 - stated) % 65521 == 0:
        return True
    # Some old programs added the bytes as signed numbers.
    rest = block[:148] + block[156:]
    return sum(byte - 256 if byte > 127 else byte for byte in rest) + 256 == stated


def parse(block: bytes) -> Header:
    """Read one header block. Raises HeaderError."""
    name, owner, size, mtime, _, kind, link, magic, names, _, prefix = _HEADER.unpack(block)
    name = _text(name)
    if magic[:5] != b"ustar":
        names = b""
    elif magic[5:6] == b"\0" and prefix[0]:
        # In GNU's own format the place of the prefix holds other things.
        name = _text(prefix) + b"/" + name
    mode, uid, gid, user, group = _owner_fields(owner, names)
    if kind in (b"\0", b"7"):
        kind = REGULAR
    return Header(
        name,
        kind,
        _size(number(size)),
        mode,
        uid,
        gid,
        number(mtime) * 1_000_000_000,
        _text(link) if link[0] else b"",
        user,
        group,
    )


@lru_cache(256)  # most entries of an archive have these fields in common
def _owner_fields(numbers: bytes, names: bytes) -> tuple[int, int, int, bytes, bytes]:
    """Mode, user id, group id, user name, group name."""
    mode, uid, gid = (number(numbers[at : at + 8]) for at in (0, 8, 16))
    return mode & 0o7777, uid, gid, _text(names[:32]), _text(names[32:])


@lru_cache(256)
def number(text: bytes) -> int:
    """A number field: octal digits between spaces and a NUL, or GNU's base 256. Raises HeaderError."""
    if text[0] & 0x80:
        value = int.from_bytes(text, "big")
        bits = 8 * len(text)
        # The first bit marks the form; the second is the sign.
        value = value - (1 << bits) if text[0] & 0x40 else value - (1 << (bits - 1))
        if not -_LARGEST < value < _LARGEST:
            raise HeaderError("has a number in its header that no file can have")
        return value
    digits = text.split(b"\0", 1)[0].strip(b" ")
    if not digits:
        return 0
    try:
        if digits.isdigit():
            return int(digits, 8)
    except ValueError:
        pass
    raise HeaderError(f"has {digits!r} in its header where an octal number belongs")


def parse_pax(data: bytes) -> dict[str, bytes]:
    """The records of a pax header: the last value of each keyword that is used here.

    The two keywords that make a sparse map come once for each piece: of them all values, joined with commas.
    Raises HeaderError.
    """
    records: dict[str, bytes] = {}
    repeated: dict[str, list[bytes]] = {name: [] for name in _REPEATED}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        digits = data[position:space] if space > 0 else b""
        if not digits.isdigit():
            if not data[position:].strip(b"\0"):
                break  # padding inside the stated size: some writers do that
            raise HeaderError("has an extended header whose records cannot be told apart")
        end = position + int(digits)
        record = data[space + 1 : end - 1]
        keyword, equals, value = record.partition(b"=")
        if end > len(data) or end <= space + 1 or data[end - 1 : end] != b"\n" or not equals or not keyword:
            raise HeaderError("has an extended header with a record that does not end where it says")
        name = keyword.decode("utf-8", "replace")
        if name in _REPEATED:
            repeated[name].append(value)
        # Only what is used is kept: global headers add up, and may be made to fill the memory.
        if name in _USED:
            records[name] = value
        position = end
    for name, values in repeated.items():
        if values:
            records[name] = b",".join(values)
    return records


# A tar has a global header for what all its entries share; a map of 200,000 pieces is not that.
ONLY_OF_ONE_ENTRY = "GNU.sparse."

_LONGEST_TIME = 32

_REPEATED = frozenset({"GNU.sparse.offset", "GNU.sparse.numbytes"})
_SPARSE = frozenset(f"GNU.sparse.{word}" for word in ("major", "minor", "name", "size", "realsize", "map"))
_USED = frozenset({"path", "linkpath", "size", "uid", "gid", "uname", "gname", "mtime"}) | _REPEATED | _SPARSE


def apply_pax(header: Header, records: dict[str, bytes]) -> None:
    """Let the records of a pax header stand for the fields of a header. Raises HeaderError.

    An empty value takes a global one back, as POSIX says; keywords that we do not need are left alone.
    """
    header.pax = records
    if value := records.get("path"):
        header.name = _name(value, "path")
    if value := records.get("linkpath"):
        header.link = _name(value, "linkpath")
    if value := records.get("size"):
        header.size = _size(decimal(value, "size"))
    if value := records.get("uid"):
        header.uid = decimal(value, "uid")
    if value := records.get("gid"):
        header.gid = decimal(value, "gid")
    if value := records.get("mtime"):
        header.mtime = _nanoseconds(value)
    header.user = _name(records.get("uname") or header.user, "uname")
    header.group = _name(records.get("gname") or header.group, "gname")


def decimal(value: bytes, keyword: str) -> int:
    """A whole number of a pax record. Raises HeaderError."""
    if not value.isdigit() or len(value) > 20:
        raise HeaderError(f"has an extended header with {keyword}={_short(value)}, which is not a number")
    return int(value)


def _nanoseconds(value: bytes) -> int:
    sign = -1 if value[:1] == b"-" else 1
    whole, _, part = value.lstrip(b"-").partition(b".")
    if len(value) > _LONGEST_TIME or not whole.isdigit() or (part and not part.isdigit()) or len(whole) > 18:
        raise HeaderError(f"has an extended header with mtime={_short(value)}, which is not a time")
    return sign * (int(whole) * 1_000_000_000 + int((part + b"000000000")[:9]))


def _size(value: int) -> int:
    if not 0 <= value < _LARGEST:
        raise HeaderError(f"says that its size is {value} bytes")
    return value


def _name(value: bytes, keyword: str) -> bytes:
    if len(value) > LONGEST_NAME:
        raise HeaderError(f"has an extended header with {len(value)} bytes in its {keyword}; {LONGEST_NAME} may be")
    if b"\0" in value:
        raise HeaderError(f"has an extended header with a NUL byte in its {keyword}")
    return value


def _text(value: bytes) -> bytes:
    return value.split(b"\0", 1)[0]


def _short(value: bytes) -> str:
    return ascii(value[:30])[1:]
