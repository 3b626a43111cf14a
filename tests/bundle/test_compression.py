from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import subprocess
import zlib

import pytest

from agent.bundle.compression import looks_like
from bundle_archives import entry, tar
from bundle_box import Box

CONTENT = os.urandom(50_000) + bytes(50_000)
SMALL = tar(entry(b"appspec.yml", b"x"), entry(b"f", CONTENT))
# Its files are large enough for the thread that decompresses beside the writer.
LARGE = tar(*[entry(b"f%d" % number, os.urandom(600_000) + bytes(600_000)) for number in range(3)])

COMPRESSIONS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("name", COMPRESSIONS)
def test_every_compression_that_tar_knows_is_known_for_the_type_tar(box: Box, name: str, data: bytes) -> None:
    plain = box.unpack(data)
    assert box.unpack(COMPRESSIONS[name](data)) == plain
    # Two compressed files one behind the other are one, and so they are for gzip, bzip2 and xz.
    half = len(data) // 2
    assert box.unpack(COMPRESSIONS[name](data[:half]) + COMPRESSIONS[name](data[half:])) == plain


def test_the_old_lzma_format_is_read(box: Box) -> None:
    assert box.unpack(lzma.compress(SMALL, format=lzma.FORMAT_ALONE)) == box.unpack(SMALL)


@pytest.mark.needs_tool("zstd")
def test_zstd_is_read_where_the_program_is_there(box: Box) -> None:
    packed = subprocess.run(["zstd", "-c"], input=LARGE, capture_output=True, check=True).stdout
    assert box.unpack(packed) == box.unpack(LARGE)
    assert "zstd" in box.refused(packed[:-100])


def test_without_the_zstd_program_the_way_out_is_told(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(box.outside))
    assert shutil.which("zstd") is None
    message = box.refused(b"\x28\xb5\x2f\xfd" + bytes(100))
    assert "Install zstd" in message
    assert "tgz" in message


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressed_data_cut_short_or_changed_is_refused(box: Box, name: str, data: bytes) -> None:
    packed = COMPRESSIONS[name](data)
    box.refused(packed[:-4])
    box.refused(packed[: len(packed) // 2])
    middle = len(packed) // 3
    box.refused(packed[:middle] + bytes([packed[middle] ^ 0xFF]) + packed[middle + 1 :])


def test_a_wrong_checksum_is_noticed_although_it_comes_last(box: Box) -> None:
    packed = gzip.compress(SMALL)
    assert "gzip data is damaged" in box.refused(packed[:-8] + bytes(4) + packed[-4:], "tgz")
    assert "gzip data is damaged" in box.refused(packed[:-4] + bytes(4), "tgz")


def test_what_follows_the_gzip_data_is_refused_unless_it_is_zeros(box: Box) -> None:
    assert "not gzip" in box.refused(gzip.compress(SMALL) + b"garbage", "tgz")
    assert "not gzip" in box.refused(gzip.compress(SMALL) + b"x", "tgz")
    box.unpack(gzip.compress(SMALL) + bytes(100_000), "tgz")


def test_a_plain_tar_given_as_tgz_is_refused_with_its_right_type(box: Box) -> None:
    assert "Give its type as tar." in box.refused(SMALL, "tgz")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"PK\3\4", "type as zip"),
        (b"<html><body>Access denied", "error page"),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey", "error page"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"LZIP", "lzip"),
    ],
)
@pytest.mark.parametrize("bundle_type", ["tar", "tgz"])
def test_a_file_of_another_kind_is_recognised(box: Box, start: bytes, kind: str, bundle_type: str) -> None:
    assert kind in box.refused(start + bytes(1000), bundle_type)


def test_a_tar_whose_first_file_has_the_name_of_another_format_is_a_tar(box: Box) -> None:
    assert looks_like(entry(b"BZh91AY&SY", b"x")) == "tar"
    box.unpack(tar(entry(b"PK\3\4", b"x")))


def test_an_xz_archive_that_asks_for_gigabytes_of_memory_is_refused(box: Box) -> None:
    filters = [
        {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 28, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "nice_len": 8}
    ]
    small = lzma.compress(b"x" * 100, filters=filters)
    assert "xz data" in box.refused(small)


def test_a_tar_without_its_end_inside_sound_gzip_data_is_refused(box: Box) -> None:
    assert "cut short" in box.refused(gzip.compress(LARGE[:1_000_000]), "tgz")


def test_a_refused_entry_ends_the_thread_that_decompresses(box: Box) -> None:
    import threading

    box.refused(gzip.compress(tar(entry(b"../evil")) + LARGE), "tgz")
    assert [thread for thread in threading.enumerate() if thread.name == "decompress"] == []


def test_a_bomb_of_zeros_is_stopped_by_the_size_limit(box: Box) -> None:
    bomb = zlib.compressobj(wbits=31)
    packed = bomb.compress(entry(b"big", size=b"%011o\0" % (1 << 32)))
    packed += b"".join(bomb.compress(bytes(1 << 20)) for _ in range(20)) + bomb.flush()
    assert "archive_max_extraction_size" in box.refused(packed, "tgz", max_size=10_000_000)
