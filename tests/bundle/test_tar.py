from __future__ import annotations

import os
import subprocess
import tracemalloc
from pathlib import Path

import pytest

from agent.bundle.unpack import UnpackOptions, unpack
from bundle_archives import END, base_256, directory, entry, hard_link, header, octal, padded, pax, symlink, tar
from bundle_box import Box

APPSPEC = entry(b"appspec.yml", b"version: 0.0\n")


def gnu_long(name: bytes, kind: bytes = b"L") -> bytes:
    return entry(b"././@LongLink", name + b"\0", kind=kind)


def test_names_longer_than_a_header_are_whole(box: Box) -> None:
    long = b"/".join([b"directory-" * 20] * 8) + b"/file"
    target = b"t" * 400
    for data in (
        tar(gnu_long(long) + entry(long, b"x"), gnu_long(target, b"K") + symlink(b"l", target)),
        tar(pax([(b"path", long)]) + entry(long, b"x"), pax([(b"linkpath", target)]) + symlink(b"l", target)),
    ):
        found = box.unpack(data)
        assert found[long.decode()][5] == b"x"
        assert found["l"][5] == target


def test_a_long_name_cut_at_a_slash_in_its_header_is_still_a_file(box: Box) -> None:
    long = b"d" * 99 + b"/file"
    assert box.unpack(tar(pax([(b"path", long)]) + entry(long[:100], b"x")))[long.decode()][5] == b"x"


def test_the_prefix_of_posix_names_is_kept_and_that_of_gnu_headers_ignored(box: Box) -> None:
    assert "p/q/f" in box.unpack(tar(entry(b"f", prefix=b"p/q")))
    assert "f" in box.unpack(tar(entry(b"f", prefix=b"p/q", magic=b"ustar  \0")))


def test_names_of_any_bytes_are_kept(box: Box) -> None:
    name = bytes(set(range(1, 256)) - set(b"/"))
    found = box.unpack(tar(gnu_long(name[:200]) + entry(b"x"), gnu_long(name[100:]) + entry(b"x"), entry(b"\xff.")))
    assert sorted(map(os.fsencode, found)) == sorted([name[:200], name[100:], b"\xff."])


def test_extended_headers_stand_for_the_fields_of_the_header(box: Box) -> None:
    records = [(b"size", b"3"), (b"mtime", b"1234567890.25"), (b"path", b"new"), (b"comment", b"unknown keywords")]
    found = box.unpack(tar(pax(records) + header(b"old", size=9) + padded(b"abc"), APPSPEC))
    assert found["new"][4:] == (1234567890_250000000, b"abc")


def test_a_global_header_counts_for_all_that_follow_until_taken_back(box: Box) -> None:
    found = box.unpack(
        tar(
            pax([(b"comment", b"0a1b2c"), (b"mtime", b"7")], kind=b"g"),
            entry(b"a"),
            pax([(b"mtime", b"")]) + entry(b"b", mtime=9),
            pax([(b"mtime", b"8")]) + entry(b"c"),
        )
    )
    assert [found[name][4] // 10**9 for name in "abc"] == [7, 9, 8]


def test_global_headers_without_end_do_not_fill_the_memory(box: Box) -> None:
    headers = b"".join(pax([(b"comment%d" % n, bytes(900_000))], kind=b"g") for n in range(30))
    box.archive.write_bytes(tar(headers, APPSPEC))
    tracemalloc.start()
    try:
        unpack(str(box.archive), "tar", str(box.destination), options=UnpackOptions())
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("records", "shown"),
    [
        ([(b"size", b"-1")], "size='-1'"),
        ([(b"size", b"1e3")], "size='1e3'"),
        ([(b"size", b"9" * 40)], "size='999"),
        ([(b"mtime", b"nan")], "mtime='nan'"),
        ([(b"mtime", b"1" * 30)], "mtime='111"),
        ([(b"uid", b"root")], "uid='root'"),
        ([(b"path", b"a\0b")], "NUL"),
        ([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"x")], "realsize"),
    ],
)
def test_surprising_values_in_extended_headers_are_named(
    box: Box, records: list[tuple[bytes, bytes]], shown: str
) -> None:
    assert shown in box.refused(tar(APPSPEC, pax(records) + entry(b"f", bytes(512))))


@pytest.mark.parametrize(
    "data", [b"hello", b"99 path=x\n", b"0 path=x\n", b"9 path=xy\n", b"7 path\n", b"6 =xy\n", b"10 path=xyz"]
)
def test_extended_headers_that_cannot_be_read_are_refused(box: Box, data: bytes) -> None:
    assert "extended header" in box.refused(tar(APPSPEC, entry(b"pax", data, kind=b"x"), entry(b"f")))


def test_an_endless_name_does_not_fill_the_memory(box: Box) -> None:
    assert "1073741824" in box.refused(tar(APPSPEC, header(b"L", b"L", size=1 << 30)))


def test_numbers_too_large_for_octal_are_read(box: Box) -> None:
    found = box.unpack(tar(entry(b"f", b"abc", size=base_256(3, 12), mtime=base_256(-5, 12))))
    assert found["f"][4:] == (-5 * 10**9, b"abc")


@pytest.mark.parametrize(
    "size", [base_256(-1, 12), base_256(1 << 80, 12), b"12x45678901\0", b"0x10       \0", b"1_0\0"]
)
def test_a_size_that_is_no_size_is_refused(box: Box, size: bytes) -> None:
    box.refused(tar(APPSPEC, entry(b"f", b"abc", size=size)))


@pytest.mark.parametrize("size", [base_256(1 << 60, 12), octal(8**11 - 1, 12)])
def test_a_file_that_says_it_is_larger_than_its_archive_is_not_begun(box: Box, size: bytes) -> None:
    assert "'f' is cut short" in box.refused(tar(APPSPEC, entry(b"f", b"abc", size=size)))


@pytest.mark.needs("root")
@pytest.mark.parametrize("owner", [(2**32 - 1, 0), (0, 2**32 - 1), (-5, 0)])
def test_an_owner_that_is_no_id_is_refused(box: Box, owner: tuple[int, int]) -> None:
    data = tar(APPSPEC, entry(b"f", owner=(base_256(owner[0], 8), base_256(owner[1], 8))))
    assert "not an id" in box.refused(data)
    box.unpack(data, ignore_ownership=True)


def test_empty_number_fields_and_old_headers_without_a_magic_are_read(box: Box) -> None:
    old = entry(b"f", b"abc", kind=b"\0", magic=bytes(8), owner=(bytes(8), b" " * 8), mtime=bytes(12))
    assert box.unpack(tar(old, entry(b"d/", kind=b"\0", magic=bytes(8))))["d"][0] == "0o40000"
    assert box.text("f") == "abc"


def test_checksums_of_signed_bytes_are_accepted(box: Box) -> None:
    block = header("ä".encode() * 20)
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:]) + 256
    box.unpack(tar(block[:148] + b"%06o\0 " % signed + block[156:]))


def test_types_that_nobody_knows_are_files(box: Box) -> None:
    assert box.unpack(tar(entry(b"f", b"abc", kind=b"Q"), entry(b"g", b"d", kind=b"7")))["f"][5] == b"abc"


def test_a_volume_label_and_the_names_of_a_dumped_directory_are_passed_over(box: Box) -> None:
    found = box.unpack(
        tar(entry(b"backup", kind=b"V"), entry(b"d", b"Yf\0\0", kind=b"D", mode=0o755), entry(b"d/f", b"x"))
    )
    assert sorted(found) == ["d", "d/f"]


@pytest.mark.parametrize("kind", [b"M", b"N"])
def test_entries_of_other_volumes_and_obsolete_names_are_refused(box: Box, kind: bytes) -> None:
    assert "'f'" in box.refused(tar(APPSPEC, entry(b"f", b"x", kind=kind)))


def test_directories_and_links_without_a_name_of_their_own_are_told_apart_from_the_top(box: Box) -> None:
    box.unpack(tar(directory(b"./"), directory(b"."), directory(b"/"), APPSPEC))
    box.refused(tar(entry(b".")))
    box.refused(tar(symlink(b"./", b"x")))
    box.refused(tar(entry(b"")))
    box.refused(tar(entry(b"f"), hard_link(b".", b"f")))


def test_a_directory_by_its_name_with_content_is_refused(box: Box) -> None:
    assert "directory by its name" in box.refused(tar(entry(b"d/", b"content")))


@pytest.mark.parametrize("cut", [1, 511, 512, 513, 1024, 1030, 1536])
def test_a_tar_cut_short_anywhere_loses_nothing_unseen(box: Box, cut: int) -> None:
    whole = APPSPEC + entry(b"f", b"x" * 600)
    message = box.refused(whole[:-cut])
    assert "cut short" in message
    assert "'f'" in message or "'appspec.yml'" in message


def test_a_tar_cut_short_in_a_large_file_is_refused(box: Box) -> None:
    assert "'f'" in box.refused(tar(APPSPEC, entry(b"f", bytes(1_000_000)))[:-500_000])
    assert "'f'" in box.refused((APPSPEC + entry(b"f", b"x" * 600_001))[:-300])


def test_a_tar_without_its_end_mark_is_taken_for_cut_short(box: Box) -> None:
    assert "mark that ends" in box.refused(APPSPEC)
    box.unpack(APPSPEC + END[:512])  # one block of zeros will do, as with tar


def test_what_follows_the_end_mark_is_ignored_as_tar_does(box: Box) -> None:
    assert list(box.unpack(tar(APPSPEC) + entry(b"later") + b"garbage")) == ["appspec.yml"]


def test_garbage_between_entries_is_refused_by_name(box: Box) -> None:
    assert "'appspec.yml'" in box.refused(tar(APPSPEC, os.urandom(512), entry(b"f")))


def test_something_that_is_no_tar_is_explained(box: Box) -> None:
    assert "does not look like a tar archive" in box.refused(os.urandom(3000))


def test_a_long_name_that_nothing_follows_is_refused(box: Box) -> None:
    assert "'appspec.yml'" in box.refused(tar(APPSPEC, gnu_long(b"n" * 150)))
    assert "cut short" in box.refused(APPSPEC + gnu_long(b"n" * 150))


@pytest.mark.needs_tool("tar")
@pytest.mark.parametrize(
    "form", ["--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"]
)
def test_sparse_files_come_out_whole(box: Box, tmp_path: Path, form: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "holes").open("wb") as file:
        for piece in range(30):
            file.seek(piece * 100_000 + 50_000)
            file.write(b"%d" % piece * 300)
        file.truncate(4_000_000)
    (source / "after").write_text("x")
    options = [form] if "format" in form else ["--format=pax", form]
    subprocess.run(["tar", "-S", *options, "-cf", box.archive, "-C", source, "."], check=True)
    assert box.archive.stat().st_size < 2_000_000, "the archive is not sparse: the test tests nothing"
    found = box.unpack(box.archive.read_bytes())
    assert found["holes"][5] == (source / "holes").read_bytes()
    assert found["after"][5] == b"x"
    assert (box.destination / "holes").stat().st_blocks * 512 < 3_000_000


def sparse_entry(pieces: list[tuple[int, int]], size: int | bytes, data: bytes) -> bytes:
    size = octal(size, 12) if isinstance(size, int) else size
    table = b"".join(octal(offset, 12) + octal(length, 12) for offset, length in pieces).ljust(96, b"\0")
    return entry(b"holes", data, kind=b"S", sparse=table + b"\0" + size, magic=b"ustar  \0")


def test_a_sparse_file_made_by_hand_comes_out_whole(box: Box) -> None:
    found = box.unpack(tar(sparse_entry([(2, 3), (7, 1)], 10, b"abcd"), APPSPEC))
    assert found["holes"][5] == b"\0\0abc\0\0d\0\0"


@pytest.mark.parametrize(
    ("pieces", "size"),
    [([(2, 3), (4, 1)], 10), ([(2, 4)], 5), ([(2, 3)], 10), ([(2, 9)], 20), ([(7, 1), (2, 3)], 10)],
    ids=["overlapping", "beyond its end", "too little data", "too much data", "backwards"],
)
def test_a_sparse_map_that_contradicts_itself_is_refused(box: Box, pieces: list[tuple[int, int]], size: int) -> None:
    assert "'holes' is a sparse file whose map" in box.refused(tar(sparse_entry(pieces, size, b"abcd"), APPSPEC))


def test_a_sparse_file_of_petabytes_is_refused_before_it_is_made(box: Box) -> None:
    assert "no room" in box.refused(tar(sparse_entry([(0, 4)], base_256(1 << 60, 12), b"abcd"), APPSPEC))


@pytest.mark.parametrize("count", [b"1000000000", b"-1", b"x", b"3"])
def test_a_sparse_map_in_the_data_that_lies_about_its_length_is_refused(box: Box, count: bytes) -> None:
    records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"4")]
    records.append((b"GNU.sparse.name", b"holes"))
    data = padded(count + b"\n0\n4\n") + b"abcd"
    box.refused(tar(pax(records) + entry(b"h", data)))
    found = box.unpack(tar(pax(records) + entry(b"h", padded(b"1\n0\n4\n") + b"abcd")))
    assert found["holes"][5] == b"abcd"
