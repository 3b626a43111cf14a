"""A small archive costs little, whatever is in it: work grows with its bytes and with what it writes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.bundle import compression, space, writer
from agent.bundle.names import LONGEST_NAME, resolve
from agent.bundle.streams import ChunkStream
from agent.bundle.unpack import UnpackOptions, unpack
from agent.errors import BundleError
from bundle_archives import END, Zip, directory, entry, hard_link, header, pax, symlink, tar
from bundle_box import Box
from work import BYTES_A_STEP, Work, work_of

LINKS = b"".join(
    entry(b"K", b"/".join([b"l%d" % (number + 1), *[b"."] * 1900]) + b"\0", kind=b"K") + symlink(b"l%d" % number, b"")
    for number in range(39)
) + directory(b"l39")
"""A name that begins with l0 is a way of 74,000 parts."""


def sparse(pieces: int, numbers: bytes, *, size: int = 0) -> bytes:
    """A sparse file whose map says that it has so many pieces, and has these numbers."""
    version = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"%d" % size)]
    data = b"%d\n" % pieces + numbers
    return pax(version) + entry(b"f", data + bytes(-len(data) % 512))


def long_link(target: bytes) -> bytes:
    return entry(b"K", target + b"\0", kind=b"K") + hard_link(b"h", b"x")


ATTACKS: dict[str, tuple[bytes, str]] = {
    "a sparse map without its numbers": (gzip.compress(tar(sparse(10**9, b"0\n" * 700_000))), "tgz"),
    "a sparse map of one number": (gzip.compress(tar(sparse(10**9, b"0" * 1_400_000))), "tgz"),
    "a sparse map of one long count": (gzip.compress(tar(sparse(int("9" * 500), b"0" * 1_400_000))), "tgz"),
    "a sparse map of empty pieces": (gzip.compress(tar(sparse(200_000, b"0\n" * 400_000))), "tgz"),
    "an old sparse map of empty blocks": (
        bz2.compress(
            header(b"s", b"S", sparse=bytes(96) + b"\1" + b"0" * 11 + b"\0", magic=b"ustar  \0")
            + (bytes(504) + b"\1" + bytes(7)) * 90_000
        ),
        "tar",
    ),
    "a sparse map for every entry": (
        gzip.compress(
            tar(
                pax([(b"GNU.sparse.map", b",".join([b"0"] * 100_000)), (b"GNU.sparse.size", b"0")], kind=b"g"),
                *[entry(b"%d" % number) for number in range(50)],
            )
        ),
        "tgz",
    ),
    "a long time for every entry": (
        gzip.compress(tar(pax([(b"mtime", b"1." + b"1" * 500_000)], kind=b"g"), *[entry(b"f")] * 50)),
        "tgz",
    ),
    "a long name for every entry": (
        gzip.compress(tar(pax([(b"path", b"./" * 250_000)], kind=b"g"), *[directory(b"f")] * 50)),
        "tgz",
    ),
    "a hard link with 40,000 parts": (
        gzip.compress(tar(entry(b"f"), symlink(b"l", b"f"), long_link(b"/".join([b"a"] * 40_000)))),
        "tgz",
    ),
    "a hard link through links": (
        gzip.compress(tar(LINKS, *[hard_link(b"h%d" % n, b"l0/x") for n in range(9)])),
        "tgz",
    ),
    "files through links": (
        gzip.compress(tar(LINKS, *[entry(b"l0/%d" % n) + entry(b"%d" % n) for n in range(200)])),
        "tgz",
    ),
    "bzip2 padding": (bz2.compress(tar(entry(b"f"))) + bz2.compress(bytes(1 << 26)) * 20, "tar"),
    "gzip padding": (gzip.compress(tar(entry(b"f")) + bytes(1 << 26)), "tgz"),
    "xz padding": (lzma.compress(tar(entry(b"f")) + bytes(1 << 26)), "tar"),
    "labels of volumes": (bz2.compress(entry(b"v", kind=b"V") * 90_000 + END), "tar"),
    "one directory again and again": (bz2.compress(directory(b"d") * 90_000 + END), "tar"),
    "one file again and again": (bz2.compress(entry(b"f") * 90_000 + END), "tar"),
    "one link to itself again and again": (bz2.compress(entry(b"f") + hard_link(b"f", b"f") * 90_000 + END), "tar"),
    "extended headers of nothing": (bz2.compress(pax([(b"a", b"b" * 40)] * 20_000) * 90 + END), "tar"),
    "names without entries": (bz2.compress(entry(b"L", b"n" * 400, kind=b"L") * 40_000 + END), "tar"),
    "names of a dumped directory": (bz2.compress(tar(header(b"d", b"D", size=1 << 26)) + bytes(1 << 26)), "tar"),
    "compressed files of nothing": (bz2.compress(tar(entry(b"f"))) + bz2.compress(b"") * 1000, "tar"),
    "compressed files of one byte": (
        b"".join(gzip.compress(bytes([one]), 1) for one in tar(pax([(b"comment", b"x" * 3000)]), entry(b"f"))),
        "tgz",
    ),
    "ends of zip archives": (b"PK\5\6" * 30_000, "zip"),
}

STEPS = 60_000
STEPS_A_BYTE = 150
STEPS_A_WRITE = 3000
"""Steps that an archive may cost: at all, for each of its bytes, and for each call that makes or writes a file."""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return Box(tmp_path_factory.mktemp("cost"))


@pytest.fixture
def _small_limits() -> Iterator[None]:
    """What any archive may cost is much for a traced Python; what is added for each byte stays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space, "_PASSED_BASE", 32 * 1024)
        patch.setattr(writer, "_STEPS_BASE", 1000)
        yield


def cost(box: Box, data: bytes, kind: str, most: int) -> Work:
    """Unpack or refuse; the bytes that a decompressor makes count as well."""
    box.archive.write_bytes(data)
    options = UnpackOptions(max_size=1 << 20, ignore_ownership=True)
    made: list[int] = []

    class Counting(ChunkStream):
        def __init__(self, chunks: Iterator[bytes]) -> None:
            super().__init__(chunk for chunk in chunks if made.append(len(chunk)) is None)  # type: ignore[func-returns-value]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "ChunkStream", Counting)
        work = work_of(
            lambda: unpack(str(box.archive), kind, str(box.destination), options=options),
            most=most,
            refuses=BundleError,
        )
    work.steps += sum(made) // BYTES_A_STEP
    return work


@pytest.mark.usefixtures("_small_limits")
@pytest.mark.parametrize("name", ATTACKS)
def test_an_archive_made_to_cost_time_costs_little(box: Box, name: str) -> None:
    data, kind = ATTACKS[name]
    most = STEPS + STEPS_A_BYTE * len(data)
    assert cost(box, data, kind, most).steps <= most


SMALL = st.integers(min_value=1, max_value=3)
MANY = st.sampled_from([1, 30, 3000])
BLOCKS = st.one_of(
    st.builds(lambda n, size: entry(b"%d" % n, bytes(size)), SMALL, st.sampled_from([0, 5, 5000])),
    st.builds(lambda n: directory(b"d%d" % n), SMALL),
    st.builds(lambda n, k: symlink(b"l%d" % n, b"/".join([b"l%d" % k, *[b"."] * 40])), SMALL, SMALL),
    st.builds(lambda n, k: hard_link(b"h%d" % n, b"l%d/%d" % (k, k)), SMALL, SMALL),
    st.builds(lambda n, k: entry(b"l%d/%d" % (n, k)), SMALL, SMALL),
    st.builds(lambda n: long_link(b"/".join([b"l1"] * n)), MANY),
    st.builds(lambda n: entry(b"L", b"x/" * n, kind=b"L"), MANY),
    st.builds(
        lambda n, kind: pax([(b"comment", b"c" * n), (b"mtime", b"1.5")], kind=kind),
        MANY,
        st.sampled_from([b"x", b"g"]),
    ),
    st.builds(lambda n: pax([(b"GNU.sparse.map", b",".join([b"0"] * n)), (b"GNU.sparse.size", b"0")], kind=b"g"), MANY),
    st.builds(lambda n, k: sparse(n, b"%d\n" % k * n), MANY, SMALL),
    st.builds(lambda n: header(b"D%d" % n, b"D", size=n), MANY),
    st.builds(lambda n: bytes(n) + b"\0", MANY),
    st.builds(lambda n: entry(b"V", bytes(n), kind=b"V"), MANY),
)
PARTS = st.lists(st.tuples(BLOCKS, st.sampled_from([1, 2, 50, 1000])), min_size=1, max_size=6)
PACKED = {"plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
LONGEST = 1 << 18


@pytest.mark.usefixtures("_small_limits")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=PARTS, packed=st.sampled_from(sorted(PACKED)), ended=st.booleans())
def test_no_archive_costs_more_than_its_bytes_and_its_writes_warrant(
    box: Box, parts: list[tuple[bytes, int]], packed: str, ended: bool
) -> None:
    data = b"".join(block * min(times, LONGEST // len(block)) for block, times in parts)[:LONGEST]
    data = PACKED[packed](data + (END if ended else b""))
    work = cost(box, data, "tar", 20_000_000)
    assert work.steps <= STEPS + STEPS_A_BYTE * len(data) + STEPS_A_WRITE * work.writes


@pytest.mark.parametrize(("limit", "fits"), [(100_000, False), (1_300_000, True)])
@pytest.mark.parametrize(
    "skipped",
    [
        header(b"d", b"D", size=600_000) + bytes(600_064),
        header(b"v", b"V", size=600_000) + bytes(600_064),
        pax([(b"comment", b"c" * 600_000)]),
        END + bytes(600_000),
    ],
    ids=["names of a dumped directory", "a label", "an extended header", "padding"],
)
def test_what_is_skipped_counts_for_the_size_limit(box: Box, skipped: bytes, limit: int, fits: bool) -> None:
    data = gzip.compress(tar(entry(b"f", bytes(1000)), skipped, entry(b"g")) + bytes(600_000))
    if fits:
        box.unpack(data, "tgz", max_size=limit)
    else:
        assert "archive_max_extraction_size" in box.refused(data, "tgz", max_size=limit)


def test_the_headers_of_an_honest_archive_do_not_count_for_the_size_limit(box: Box) -> None:
    entries = [pax([(b"mtime", b"5.5"), (b"path", b"%d" % n)]) + entry(b"x", bytes(100)) for n in range(500)]
    box.unpack(gzip.compress(tar(*entries)), "tgz", max_size=50_000)


@pytest.mark.parametrize("packed", PACKED)
def test_an_honest_archive_of_many_small_files_is_unpacked(box: Box, packed: str) -> None:
    entries = [pax([(b"mtime", b"5.%d" % n), (b"path", b"d/%d" % n)]) + entry(b"x") for n in range(1000)]
    assert len(box.unpack(PACKED[packed](tar(*entries) + bytes(10_240)))) == 1001


def test_a_name_may_be_as_long_as_a_path(box: Box) -> None:
    name = b"/".join([b"n" * 200] * 30)[: LONGEST_NAME - 1] + b"n"
    for data in (tar(pax([(b"path", name + b"n")]) + entry(b"x")), Zip().add(name + b"n", b"x").data()):
        assert "4096 bytes" in box.refused(data, "zip" if data[:2] == b"PK" else "tar")
    box.archive.write_bytes(tar(pax([(b"path", name)]) + entry(b"x")))
    unpack(str(box.archive), "tar", str(box.destination), options=UnpackOptions())
    assert os.listdir(box.destination) == ["n" * 200]


def test_a_way_longer_than_a_path_is_not_followed() -> None:
    links = {b"l": b"/".join([b"d"] * 2000), b"m": b"/".join([b".."] * 2000)}
    assert resolve(links, b"l/x") is not None
    assert resolve(links, b"l/" + b"/".join([b"d"] * 100)) is None
    assert resolve(links, b"l/" + links[b"m"]) == b""
