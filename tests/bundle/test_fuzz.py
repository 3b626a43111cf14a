"""Archives changed at random: whatever comes, it is unpacked or refused, and nothing else happens."""

from __future__ import annotations

import gzip
import os
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import BundleError
from bundle_archives import Zip, directory, entry, hard_link, header, pax, symlink, tar, with_checksum
from bundle_box import Box

LONG = b"long/" * 40 + b"name"
TAR = tar(
    directory(b"./"),
    entry(b"appspec.yml", b"version: 0.0\n"),
    directory(b"d"),
    entry(b"d/f", b"x" * 700),
    symlink(b"d/l", b"f"),
    hard_link(b"d/h", b"d/f"),
    pax([(b"path", LONG), (b"mtime", b"5.5"), (b"size", b"3")]) + entry(LONG, b"abc"),
    entry(b"L", b"gnu/" * 30 + b"\0", kind=b"L") + entry(b"x", b"y"),
    entry(
        b"s", b"abcd", kind=b"S", sparse=b"%011o\0%011o\0" % (2, 4) + bytes(72) + b"\0%011o\0" % 10, magic=b"ustar  \0"
    ),
    pax([(b"GNU.sparse.map", b"0,2,5,2"), (b"GNU.sparse.size", b"7")]) + entry(b"t", b"abcd"),
)
ZIP = (
    Zip()
    .add(b"appspec.yml", b"version: 0.0\n")
    .add(b"d/", mode=0o40755)
    .add(b"d/f", b"x" * 700, extra=struct.pack("<HHBi", 0x5455, 5, 1, 5))
    .add(b"d/l", b"f", mode=0o120777, method=0)
    .add(b"large", bytes(200_000))
    .data()
)
HEADERS = [at for at in range(0, len(TAR), 512) if TAR[at + 257 : at + 262] == b"ustar"]

positions = st.integers(min_value=0, max_value=1 << 30)
pieces = st.one_of(
    st.binary(min_size=1, max_size=12), st.sampled_from([bytes(8), b"\xff" * 8, b"../", b"/", b"7777777"])
)
changes = st.lists(st.tuples(positions, pieces), min_size=1, max_size=4)
box = pytest.fixture(scope="module")(lambda tmp_path_factory: Box(tmp_path_factory.mktemp("fuzz")))


def changed(data: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    for position, piece in edits:
        position %= len(data)
        data = data[:position] + piece + data[position + len(piece) :]
    return data


def survives(box: Box, data: bytes, bundle_type: str) -> None:
    """Unpack or refuse: ``Box`` proves that nothing outside was touched, and that a refusal leaves nothing new."""
    before = sorted(os.listdir(box.deployment))
    with suppress(BundleError):
        box.unpack(data, bundle_type, max_size=1_000_000)
        return
    assert sorted(os.listdir(box.deployment)) == before


@given(edits=changes)
def test_a_tar_with_bytes_changed(box: Box, edits: list[tuple[int, bytes]]) -> None:
    survives(box, changed(TAR, edits), "tar")


@given(which=st.integers(min_value=0, max_value=len(HEADERS) - 1), edits=changes)
def test_a_tar_with_a_header_changed_that_keeps_a_right_checksum(
    box: Box, which: int, edits: list[tuple[int, bytes]]
) -> None:
    at = HEADERS[which]
    block = with_checksum(changed(TAR[at : at + 512], edits)[:512])
    survives(box, TAR[:at] + block + TAR[at + 512 :], "tar")
    survives(box, gzip.compress(TAR[:at] + block + TAR[at + 512 :], 1), "tgz")


@given(data=st.binary(max_size=300), kind=st.sampled_from([b"x", b"g", b"L", b"K", b"S"]))
def test_a_tar_with_metadata_of_any_bytes(box: Box, data: bytes, kind: bytes) -> None:
    survives(box, tar(entry(b"m", data, kind=kind), entry(b"f", b"x"), header(b"d", b"5")), "tar")


@given(edits=changes, compressed=st.booleans())
def test_a_tgz_with_bytes_changed(box: Box, edits: list[tuple[int, bytes]], compressed: bool) -> None:
    data = changed(gzip.compress(TAR, 1), edits) if compressed else gzip.compress(changed(TAR, edits), 1)
    survives(box, data, "tgz")


@given(edits=changes)
def test_a_zip_with_bytes_changed(box: Box, edits: list[tuple[int, bytes]]) -> None:
    survives(box, changed(ZIP, edits), "zip")


@given(length=st.integers(min_value=0, max_value=max(len(TAR), len(ZIP))))
def test_archives_cut_anywhere(box: Box, length: int) -> None:
    # Where the first block of its end mark is whole, nothing of a tar is missing.
    if 0 < length < len(TAR) - 512:
        with pytest.raises(BundleError):
            box.unpack(TAR[:length])
    if 0 < length < len(ZIP):
        with pytest.raises(BundleError):
            box.unpack(ZIP[:length], "zip")


@given(data=st.binary(max_size=2000), bundle_type=st.sampled_from(["tar", "tgz", "zip"]))
def test_any_bytes_at_all(box: Box, data: bytes, bundle_type: str) -> None:
    survives(box, data, bundle_type)
