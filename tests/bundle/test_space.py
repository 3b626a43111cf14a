from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.bundle.unpack import UnpackOptions, unpack
from agent.errors import BundleError
from bundle_archives import entry, pax, tar, zip_of
from bundle_box import Box

MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 4 MiB and 60 files."""
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=61", "none", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def refused(source: Path, bundle_type: str, disk: Path, **callbacks: object) -> str:
    with pytest.raises(BundleError) as caught:
        unpack(str(source), bundle_type, str(disk / "revision"), options=UnpackOptions(), **callbacks)  # type: ignore[arg-type]
    return str(caught.value)


def archives(directory: Path, files: dict[str, bytes]) -> dict[str, Path]:
    (directory / "a.tar").write_bytes(tar(*[entry(name.encode(), data) for name, data in files.items()]))
    (directory / "a.zip").write_bytes(zip_of(files))
    (directory / "source").mkdir()
    for name, data in files.items():
        (directory / "source" / name).write_bytes(data)
    (directory / "a.tgz").write_bytes(gzip.compress((directory / "a.tar").read_bytes()))
    return {
        "tgz": directory / "a.tgz",
        "tar": directory / "a.tar",
        "zip": directory / "a.zip",
        "directory": directory / "source",
    }


@pytest.mark.needs("root", "mount")
@pytest.mark.parametrize("bundle_type", ["tar", "tgz", "zip", "directory"])
def test_a_revision_that_does_not_fit_is_refused_before_it_fills_the_disk(
    small_disk: Path, tmp_path: Path, bundle_type: str
) -> None:
    source = archives(tmp_path, {"small": bytes(MIB), "large": bytes(5 * MIB)})[bundle_type]
    message = refused(source, bundle_type, small_disk)
    assert "no room" in message
    assert "MiB are free" in message
    assert os.listdir(small_disk) == []


@pytest.mark.needs("root", "mount")
@pytest.mark.parametrize("bundle_type", ["tar", "zip", "directory"])
def test_more_files_than_the_file_system_has_places_for_are_refused(
    small_disk: Path, tmp_path: Path, bundle_type: str
) -> None:
    source = archives(tmp_path, {f"f{number}": b"" for number in range(100)})[bundle_type]
    assert "inodes" in refused(source, bundle_type, small_disk)
    assert os.listdir(small_disk) == []


@pytest.mark.needs("root", "mount")
@pytest.mark.parametrize("bundle_type", ["tar", "zip", "directory"])
@pytest.mark.parametrize("sizes", [[MIB] * 3, [60_000] * 50], ids=["large files", "small files"])
def test_a_disk_that_somebody_else_fills_meanwhile_leaves_nothing_behind(
    small_disk: Path, tmp_path: Path, bundle_type: str, sizes: list[int]
) -> None:
    files = {f"f{number}": os.urandom(size) for number, size in enumerate(sizes)}
    source = archives(tmp_path, files)[bundle_type]

    def fill(done: int, total: int) -> None:
        if done > 0:
            with (small_disk / "filler").open("wb", buffering=0) as filler:
                while True:
                    try:
                        filler.write(bytes(4096))
                    except OSError:
                        return

    message = refused(source, bundle_type, small_disk, progress=fill)
    assert "No space left" in message or "no room" in message
    assert os.listdir(small_disk) == ["filler"]


@pytest.mark.needs("root", "mount")
@pytest.mark.parametrize("bundle_type", ["tar", "tgz", "zip", "directory"])
def test_nothing_at_all_is_written_of_a_revision_that_does_not_fit(
    small_disk: Path, tmp_path: Path, bundle_type: str
) -> None:
    source = archives(tmp_path, {f"f{number}": bytes(60_000) for number in range(59)} | {"last": bytes(2 * MIB)})
    made: list[int] = []
    message = refused(source[bundle_type], bundle_type, small_disk, progress=lambda done, _: made.append(done))
    assert "no room" in message
    assert made == []


@pytest.mark.needs("root", "mount")
def test_an_archive_larger_than_the_disk_is_unpacked_when_its_content_is_not(small_disk: Path, tmp_path: Path) -> None:
    comment = pax([(b"comment", b"c" * 1_000_000)])
    (tmp_path / "a.tar").write_bytes(tar(comment * 5, entry(b"f")))
    unpack(str(tmp_path / "a.tar"), "tar", str(small_disk / "revision"), options=UnpackOptions())


@pytest.mark.needs("root", "mount")
def test_a_revision_that_just_fits_is_unpacked(small_disk: Path, tmp_path: Path) -> None:
    source = archives(tmp_path, {f"f{number}": bytes(60_000) for number in range(55)})["tar"]
    unpack(str(source), "tar", str(small_disk / "revision"), options=UnpackOptions())
    assert len(os.listdir(small_disk / "revision")) == 55


@pytest.mark.parametrize("bundle_type", ["tar", "zip", "directory"])
def test_the_size_limit_holds_to_the_byte(box: Box, tmp_path: Path, bundle_type: str) -> None:
    (tmp_path / "made").mkdir()
    source = archives(tmp_path / "made", {"a": bytes(600), "b": bytes(400_000)})[bundle_type]
    message = box.refused(source, bundle_type, max_size=400_599)
    assert "archive_max_extraction_size" in message
    box.unpack(source, bundle_type, max_size=400_600)


def test_the_size_limit_holds_where_the_archive_hides_its_size(box: Box) -> None:
    # What a gzip file says at its end is the size of its last member only.
    hidden = gzip.compress(tar(entry(b"a", bytes(600)), entry(b"b", bytes(400_000)))) + gzip.compress(b"")
    assert "archive_max_extraction_size" in box.refused(hidden, "tgz", max_size=400_599)
    box.unpack(hidden, "tgz", max_size=400_600)
