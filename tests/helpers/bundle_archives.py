"""Archives made byte by byte, so that they can say what no honest program would write."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable

BLOCK = 512
END = bytes(2 * BLOCK)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def base_256(value: int, width: int) -> bytes:
    return (value % (1 << 8 * width) | (1 << 8 * width - 1)).to_bytes(width, "big")


def header(
    name: bytes,
    kind: bytes = b"0",
    *,
    size: int | bytes = 0,
    mode: int = 0o644,
    owner: tuple[int | bytes, int | bytes] = (0, 0),
    names: tuple[bytes, bytes] = (b"", b""),
    mtime: int | bytes = 1_000_000_000,
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    sparse: bytes = b"",
) -> bytes:
    """One header block; numbers given as bytes are taken as they are."""

    def field(value: int | bytes, width: int) -> bytes:
        return value if isinstance(value, bytes) else octal(value, width)

    block = bytearray(BLOCK)
    block[0:100] = name[:100].ljust(100, b"\0")
    block[100:108] = octal(mode, 8)
    block[108:116] = field(owner[0], 8)
    block[116:124] = field(owner[1], 8)
    block[124:136] = field(size, 12)
    block[136:148] = field(mtime, 12)
    block[156:157] = kind
    block[157:257] = link[:100].ljust(100, b"\0")
    block[257:265] = magic
    block[265:297] = names[0].ljust(32, b"\0")
    block[297:329] = names[1].ljust(32, b"\0")
    block[345:500] = prefix.ljust(155, b"\0")
    if sparse:
        block[386 : 386 + len(sparse)] = sparse
    return with_checksum(bytes(block))


def with_checksum(block: bytes) -> bytes:
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def entry(name: bytes, data: bytes = b"", kind: bytes = b"0", **fields: object) -> bytes:
    """An entry with its content; ``fields`` as of ``header``."""
    fields.setdefault("size", len(data))
    return header(name, kind, **fields) + padded(data)  # type: ignore[arg-type]


def directory(name: bytes, **fields: object) -> bytes:
    fields.setdefault("mode", 0o755)
    return entry(name, kind=b"5", **fields)


def symlink(name: bytes, target: bytes, **fields: object) -> bytes:
    return entry(name, kind=b"2", link=target, **fields)


def hard_link(name: bytes, target: bytes, **fields: object) -> bytes:
    return entry(name, kind=b"1", link=target, **fields)


def record(keyword: bytes, value: bytes) -> bytes:
    """One record of a pax header, with its own length in front."""
    body = b" " + keyword + b"=" + value + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def pax(records: Iterable[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
    return entry(b"pax", b"".join(record(*pair) for pair in records), kind=kind)


def tar(*entries: bytes) -> bytes:
    return b"".join(entries) + END


class Zip:
    """A zip archive in which directory and local headers can be made to differ."""

    def __init__(self) -> None:
        self.body = b""
        self.directory = b""
        self.count = 0

    def add(
        self,
        name: bytes,
        data: bytes = b"",
        *,
        mode: int = 0o100644,
        host: int = 3,
        attributes: int | None = None,
        flags: int = 0,
        method: int = 8,
        size: int | None = None,
        crc: int | None = None,
        stored: bytes | None = None,
        local_name: bytes | None = None,
        local_size: int | None = None,
        local_flags: int | None = None,
        offset: int | None = None,
        extra: bytes = b"",
    ) -> Zip:
        if stored is None:
            stored = data
            if method == 8:
                deflate = zlib.compressobj(wbits=-15)
                stored = deflate.compress(data) + deflate.flush()
        size = len(data) if size is None else size
        crc = zlib.crc32(data) if crc is None else crc
        name_there = name if local_name is None else local_name
        flags_there = flags if local_flags is None else local_flags
        size_there = size if local_size is None else local_size
        if offset is None:
            offset = len(self.body)
            self.body += struct.pack(
                "<4sHHHHHIIIHH", b"PK\3\4", 20, flags_there, method, 0, 0x21, crc, len(stored), size_there,
                len(name_there), 0,
            ) + name_there + stored  # fmt: skip
        attributes = mode << 16 if attributes is None else attributes
        self.directory += struct.pack(
            "<4sBBHHHHHIIIHHHHHII", b"PK\1\2", 20, host, 20, flags, method, 0, 0x21, crc, len(stored), size,
            len(name), len(extra), 0, 0, 0, attributes, offset,
        ) + name + extra  # fmt: skip
        self.count += 1
        return self

    def data(self, *, count: int | None = None, comment: bytes = b"") -> bytes:
        count = self.count if count is None else count
        end = struct.pack(
            "<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, len(self.directory), len(self.body), len(comment)
        )
        return self.body + self.directory + end + comment


def zip_of(files: dict[str, bytes]) -> bytes:
    """An honest archive, by Python's own writer."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()
