from __future__ import annotations

import io
import os
import struct
import threading
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest

from agent.bundle.unpack import UnpackOptions, unpack
from bundle_archives import Zip, zip_of
from bundle_box import Box

UTF8 = 0x800
SIZES_FOLLOW = 0x8


def test_an_honest_archive_comes_out_whole(box: Box) -> None:
    content = {"a": b"x", "d/e/f": bytes(300_000), "d/g": os.urandom(200_000), "nothing": b""}
    found = box.unpack(zip_of(content), "zip")
    assert {name: found[name][5] for name in content} == content


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("size", [0, 1, 128 * 1024, 128 * 1024 + 1, 3_000_000])
def test_every_usual_method_is_read_in_every_size(box: Box, method: int, size: int) -> None:
    content = (os.urandom(1000) + bytes(1000)) * (size // 2000 + 1)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.writestr("f", content[:size])
    assert box.unpack(target.getvalue(), "zip")["f"][5] == content[:size]


def test_an_archive_written_to_a_pipe_has_its_sizes_behind_its_content(box: Box) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.written = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.written += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        archive.writestr("f", b"content" * 100)
    assert box.unpack(pipe.written, "zip")["f"][5] == b"content" * 100


def test_zip64_numbers_are_read(box: Box, tmp_path: Path) -> None:
    target = io.BytesIO()
    with (
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("f", "w", force_zip64=True) as file,
    ):
        file.write(b"content")
    assert box.unpack(target.getvalue(), "zip")["f"][5] == b"content"
    big = struct.pack("<HHQQQ", 1, 24, 7, 9, 0)
    made = Zip().add(b"f", b"content", extra=b"")
    entry = made.directory
    directory = entry[:20] + b"\xff" * 8 + entry[28:30] + struct.pack("<H", len(big)) + entry[32:42] + b"\xff" * 4
    made.directory = directory + entry[46:] + big.replace(struct.pack("<Q", 9), entry[20:24] + bytes(4), 1)
    assert box.unpack(made.data(), "zip")["f"][5] == b"content"


@pytest.mark.long  # 65,536 files; the old format is read by every other test
def test_more_entries_than_the_old_format_counts_are_read(box: Box) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(65600):
            archive.writestr(zipfile.ZipInfo(f"d/{number}"), b"")
    box.archive.write_bytes(target.getvalue())
    unpack(str(box.archive), "zip", str(box.destination), options=UnpackOptions())
    assert len(os.listdir(box.destination / "d")) == 65600


@pytest.mark.parametrize(
    ("host", "attributes", "mode"),
    [
        (3, 0o100640 << 16, 0o640),
        (3, 0o107777 << 16, 0o777),
        (3, 0o100000 << 16, 0),
        (3, 0, 0o644),
        (0, 0, 0o644),
        (0, 1, 0o444),
        (0, 0o600 << 16, 0o600),
        (0, 0o755 << 16, 0o644),
        (10, 0o600 << 16, 0o644),
    ],
    ids=["Unix", "setuid", "none at all", "Unix without", "DOS", "DOS read-only", "PKZIP", "PKZIP differing", "NTFS"],
)
def test_modes_are_those_that_unzip_gives(box: Box, host: int, attributes: int, mode: int) -> None:
    before = os.umask(0o022)
    try:
        assert box.unpack(Zip().add(b"f", b"x", host=host, attributes=attributes).data(), "zip")["f"][1] == oct(mode)
    finally:
        os.umask(before)


def test_times_come_from_the_unix_field_or_are_local_time(box: Box) -> None:
    field = struct.pack("<HHBi", 0x5455, 5, 1, 1_000_000_000)
    found = box.unpack(Zip().add(b"with", extra=field).add(b"without").data(), "zip")
    assert found["with"][4] == 10**18
    assert 315_500_000 < found["without"][4] / 10**9 < 315_600_000  # 1 January 1980, somewhere on earth


def test_a_directory_of_another_system_lets_nobody_else_write_even_if_the_umask_is_0(box: Box) -> None:
    before = os.umask(0)
    try:
        assert box.unpack(Zip().add(b"d/", host=0, attributes=0).data(), "zip")["d"][1] == "0o755"
    finally:
        os.umask(before)


def test_directories_have_the_attributes_of_their_entries(box: Box) -> None:
    found = box.unpack(Zip().add(b"d/", mode=0o40700).add(b"d/f", b"x").data(), "zip")
    assert found["d"][:2] == ("0o40000", "0o700")


def test_dot_dot_in_names_is_left_out_as_unzip_does(box: Box) -> None:
    found = box.unpack(Zip().add(b"../evil", b"1").add(b"a/../../b", b"2").add(b"/abs", b"3").data(), "zip")
    assert {name: rest[5] for name, rest in found.items()} == {"evil": b"1", "a": b"", "a/b": b"2", "abs": b"3"}
    assert "no name" in box.refused(Zip().add(b"..", b"x").data(), "zip")


@pytest.mark.parametrize(
    ("name", "flags", "host", "extra", "there"),
    [
        ("ä☃".encode(), UTF8, 3, b"", "ä☃".encode()),
        ("ä".encode(), UTF8, 0, b"", "ä".encode()),
        (b"\xe4", 0, 3, b"", b"\xe4"),
        (b"\x84", 0, 0, b"", "ä".encode()),
        ("ä".encode(), 0, 0, b"", "ä".encode()),
        (b"?\x84", 0, 0, struct.pack("<HHBI", 0x7075, 7, 1, zlib.crc32(b"?\x84")) + "☃".encode()[:2], b"\xe2\x98"),
        (b"a\\b", 0, 0, b"", b"a/b"),
        (b"a\\b", 0, 3, b"", b"a\\b"),
        (b"new\nline\x01", 0, 3, b"", b"new\nline\x01"),
    ],
)
def test_names_come_out_as_they_were_meant(
    box: Box, name: bytes, flags: int, host: int, extra: bytes, there: bytes
) -> None:
    box.unpack(Zip().add(name, b"x", flags=flags, host=host, extra=extra).data(), "zip")
    assert (Path(os.fsdecode(os.fsencode(box.destination) + b"/" + there))).read_bytes() == b"x"


def test_a_name_with_a_nul_byte_is_refused(box: Box) -> None:
    assert "NUL" in box.refused(Zip().add(b"a\0b", b"x").data(), "zip")


def test_bytes_before_and_behind_the_archive_are_passed_over(box: Box) -> None:
    data = zip_of({"f": b"content"})
    for whole in (
        b"#!/bin/sh\n" * 50 + data,
        data + b"garbage",
        data + bytes(70_000),
        Zip().data(comment=b"PK\5\6 no"),
    ):
        box.unpack(whole, "zip")
    box.unpack(bytes(100) + data, "zip")
    assert box.text("f") == "content"


def test_an_archive_without_entries_is_an_empty_revision(box: Box) -> None:
    assert box.unpack(Zip().data(), "zip") == {}


LYING = {
    "size too small": Zip().add(b"bad", b"x" * 100, size=99, local_size=99),
    "size too large": Zip().add(b"bad", b"x" * 100, size=101, local_size=101),
    "stored size too small": Zip().add(b"bad", b"x" * 100, method=0, size=99, local_size=99),
    "large size too small": Zip().add(b"bad", bytes(500_000), size=400_000, local_size=400_000),
    "large size too large": Zip().add(b"bad", bytes(500_000), size=600_000, local_size=600_000),
    "checksum": Zip().add(b"bad", b"x", crc=1),
    "checksum of a large file": Zip().add(b"bad", bytes(500_000), crc=1),
    "compressed data": Zip().add(b"bad", b"x" * 100, stored=b"\xff" * 50),
    "compressed data of a large file": Zip().add(b"bad", b"x" * 500_000, stored=b"\xff" * 50),
    "compressed data without an end": Zip().add(b"bad", b"x" * 100, stored=zlib.compress(b"x" * 100)[2:-6]),
    "another name in its place": Zip().add(b"bad", b"x", local_name=b"dab"),
    "another size in its place": Zip().add(b"bad", b"x", local_size=2),
    "encrypted": Zip().add(b"bad", b"x", flags=1),
    "encrypted in its place": Zip().add(b"bad", b"x", local_flags=1),
    "unknown method": Zip().add(b"bad", b"x", method=93),
    "unknown method of a large file": Zip().add(b"bad", bytes(200_000), method=9, stored=b"xx"),
    "nowhere": Zip().add(b"good", b"x").add(b"bad", b"x", offset=5),
    "beyond the end": Zip().add(b"good", b"x").add(b"bad", b"x", offset=1 << 30),
    "directory with content": Zip().add(b"bad/", b"x"),
    "link without end": Zip().add(b"bad", b"x" * 5000, mode=0o120777),
}


@pytest.mark.parametrize("archive", LYING.values(), ids=LYING.keys())
def test_an_entry_that_lies_is_refused_by_name(box: Box, archive: Zip) -> None:
    assert "'bad" in box.refused(archive.data(), "zip")


def test_content_is_not_read_from_behind_the_last_entry(box: Box) -> None:
    data = bytearray(Zip().add(b"bad", b"x" * 100, method=0).data())
    data[28:30] = b"\x50\0"  # the length of the extra field in its place
    assert "outside the archive" in box.refused(bytes(data), "zip")


@pytest.mark.parametrize(
    "bomb",
    [
        Zip().add(b"bad", bytes(100_000_000), size=10, local_size=10),
        Zip().add(b"bad", b"x", mode=0o120777, method=0, stored=bytes(50_000_000), size=1, local_size=1),
        Zip().add(b"bad", os.urandom(6_000_000), size=1_000_000, local_size=1_000_000),
    ],
    ids=["small file", "link", "large file"],
)
def test_an_entry_that_lies_about_its_size_fills_neither_memory_nor_disk(box: Box, bomb: Zip) -> None:
    written: list[int] = []
    data = bomb.data()
    tracemalloc.start()
    try:
        box.refused(data, "zip", progress=lambda *_: written.append(largest(box.deployment)))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert max(written, default=0) <= 1_000_000, "more was written than the entry says it has"


def largest(directory: Path) -> int:
    return max((path.stat().st_size for path in directory.rglob("*")), default=0)


def test_a_refused_entry_ends_the_thread_that_decompresses(box: Box) -> None:
    content = os.urandom(3_000_000)
    box.refused(Zip().add(b"bad", content, size=1_000_000, local_size=1_000_000).data(), "zip")
    assert [thread for thread in threading.enumerate() if thread.name == "decompress"] == []


def test_entries_that_share_their_bytes_are_refused_before_they_fill_the_disk(box: Box) -> None:
    bomb = Zip().add(b"0", bytes(1_000_000)).add(b"padding", os.urandom(5000))
    for number in range(1, 20):
        bomb.add(b"%d" % number, bytes(1_000_000), offset=0)
    assert "overlap" in box.refused(bomb.data(), "zip")


def test_a_directory_that_counts_wrongly_is_refused(box: Box) -> None:
    assert "3" in box.refused(Zip().add(b"f", b"x").data(count=3), "zip")


def test_an_entry_cut_out_of_the_directory_is_noticed(box: Box) -> None:
    archive = Zip().add(b"f", b"x").add(b"g", b"y")
    archive.directory = archive.directory[:-10]
    assert "directory" in box.refused(archive.data(), "zip")


@pytest.mark.parametrize("keep", [10, 60, 100])
def test_a_zip_cut_short_is_explained(box: Box, keep: int) -> None:
    assert "cut short" in box.refused(zip_of({"f": b"content" * 10})[:keep], "zip")


def test_something_that_is_no_zip_is_explained(box: Box) -> None:
    assert "does not look like a zip" in box.refused(b"hello", "zip")


def test_a_part_of_a_split_archive_is_explained(box: Box) -> None:
    data = Zip().add(b"f", b"x").data()
    assert "parts" in box.refused(data[:-18] + b"\1\0" + data[-16:], "zip")
