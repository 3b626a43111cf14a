from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.filesystem.copying import CHUNK, SMALL, copy_bytes

SIZES = [0, 1, SMALL - 1, SMALL, SMALL + 1, CHUNK, 3 * CHUNK + 7]


def copied(source: Path, target: Path, size: int, *, flags: int = 0) -> int:
    reading = os.open(source, os.O_RDONLY)
    writing = os.open(target, os.O_WRONLY | os.O_CREAT | flags, 0o600)
    try:
        return copy_bytes(reading, writing, size)
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_copied_whole(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "a").write_bytes(content)
    assert copied(tmp_path / "a", tmp_path / "b", size) == size
    assert (tmp_path / "b").read_bytes() == content


def test_no_more_is_copied_than_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2 * CHUNK))
    assert copied(tmp_path / "a", tmp_path / "b", CHUNK + 1) == CHUNK + 1
    assert (tmp_path / "b").stat().st_size == CHUNK + 1


@pytest.mark.parametrize("size", SIZES)
def test_a_source_that_ends_early_is_told(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(bytes(size))
    assert copied(tmp_path / "a", tmp_path / "b", size + SMALL + 1) == size


def test_both_positions_move_on(tmp_path: Path) -> None:
    content = os.urandom(2 * CHUNK)
    (tmp_path / "a").write_bytes(content)
    reading = os.open(tmp_path / "a", os.O_RDONLY)
    writing = os.open(tmp_path / "b", os.O_WRONLY | os.O_CREAT, 0o600)
    os.lseek(reading, 10, os.SEEK_SET)
    assert [copy_bytes(reading, writing, part) for part in (100, CHUNK, 5)] == [100, CHUNK, 5]
    os.close(reading)
    os.close(writing)
    assert (tmp_path / "b").read_bytes() == content[10 : 10 + 105 + CHUNK]


@pytest.mark.parametrize("missing", [["copy_file_range"], ["copy_file_range", "sendfile"]])
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP])
def test_a_kernel_that_lacks_the_quick_ways_copies_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: list[str], number: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    for name in missing:
        monkeypatch.setattr(os, name, refuse)
    content = os.urandom(2 * CHUNK + 5)
    (tmp_path / "a").write_bytes(content)
    assert copied(tmp_path / "a", tmp_path / "b", len(content)) == len(content)
    assert (tmp_path / "b").read_bytes() == content


def test_an_appending_target_is_written_to_although_the_kernel_refuses_the_quick_way(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * (2 * CHUNK))
    (tmp_path / "b").write_bytes(b"start")
    assert copied(tmp_path / "a", tmp_path / "b", 2 * CHUNK, flags=os.O_APPEND) == 2 * CHUNK
    assert (tmp_path / "b").read_bytes() == b"start" + b"x" * (2 * CHUNK)


def test_a_source_without_a_size_is_read(tmp_path: Path) -> None:
    assert copied(Path("/proc/self/status"), tmp_path / "b", SMALL + 1) > 100
    assert b"Name:" in (tmp_path / "b").read_bytes()


def test_a_pipe_is_read(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x" * 5000)
    os.close(writing)
    target = os.open(tmp_path / "b", os.O_WRONLY | os.O_CREAT, 0o600)
    assert copy_bytes(reading, target, SMALL + 1) == 5000
    os.close(reading)
    os.close(target)


def test_a_full_disk_is_an_error_and_no_reason_to_try_another_way(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2 * CHUNK))
    with pytest.raises(OSError, match="No space left"):
        copied(tmp_path / "a", Path("/dev/full"), 2 * CHUNK)


@pytest.mark.parametrize("size", [1, SMALL, SMALL + 1, 3 * CHUNK])
def test_progress_adds_up(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(bytes(size))
    steps: list[int] = []
    report: Callable[[int], None] = steps.append
    with (tmp_path / "a").open("rb") as reading, (tmp_path / "b").open("wb") as writing:
        copy_bytes(reading.fileno(), writing.fileno(), size, progress=report)
    assert sum(steps) == size
    assert all(step <= CHUNK for step in steps)
