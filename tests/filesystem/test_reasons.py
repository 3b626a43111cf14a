"""An error of the operating system says where it happened, why, and what to do."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.filesystem.durable import append_durably, write_durably
from agent.filesystem.reasons import about, place_and_reason, remedy_for

FULL = "/dev/full"


def error(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    "name",
    [
        "ENOSPC",
        "EDQUOT",
        "EROFS",
        "EIO",
        "ESTALE",
        "ENOTCONN",
        "ENOMEM",
        "EAGAIN",
        "EMFILE",
        "ENFILE",
        "EFBIG",
        "EACCES",
        "EPERM",
        "EBUSY",
    ],
)
def test_what_a_host_can_lack_has_a_remedy_with_and_without_a_place(name: str) -> None:
    for path in (None, "/srv/app/x"):
        assert remedy_for(error(getattr(errno, name), path)).endswith(".")


def test_a_full_file_system_is_named_by_the_path_or_not_at_all() -> None:
    assert "on the file system of /srv/b and" in remedy_for(
        OSError(errno.ENOSPC, "No space left on device", "/srv/a", None, "/srv/b")
    )
    assert "on the file system and try again" in remedy_for(error(errno.ENOSPC))
    assert remedy_for(error(errno.EROFS, "/srv/a")).startswith("The file system of /srv/a is mounted read-only")


def test_a_lack_of_the_host_is_named_before_the_callers_own_remedy() -> None:
    assert remedy_for(error(errno.EACCES), otherwise="Use sudo.") == "Use sudo."
    assert "Free some space" in remedy_for(error(errno.ENOSPC), otherwise="Use sudo.")


def test_memory_that_ran_out_in_the_agent_is_no_defect_of_it() -> None:
    assert place_and_reason(MemoryError()) == "The agent ran out of memory"
    assert "memory limit of the agent's service" in remedy_for(MemoryError())
    assert remedy_for(MemoryError()) == remedy_for(error(errno.ENOMEM))


def test_a_descriptor_is_no_place_and_bytes_are() -> None:
    assert place_and_reason(OSError(errno.EIO, "Input/output error", 7)) == "Input/output error"
    assert place_and_reason(OSError(errno.EIO, "Input/output error", b"/a\xff")).startswith("/a")


def test_a_full_disk_is_told_with_the_file_that_was_written(tmp_path: Path) -> None:
    link = tmp_path / "link"
    with pytest.raises(OSError, match="No space left") as caught, about(str(link)), open(FULL, "wb", 0) as file:
        file.write(b"x")
    assert caught.value.filename == str(link)
    with pytest.raises(OSError, match="No space left") as caught:
        append_durably(FULL, b"x")
    assert caught.value.filename == FULL


@pytest.fixture
def small_file_system(tmp_path: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.needs("mount")
def test_a_write_that_a_full_file_system_refuses_names_the_file(small_file_system: Path) -> None:
    place = small_file_system / "record"
    with pytest.raises(OSError, match="No space left") as caught:
        write_durably(str(place), b"x" * (1 << 21))
    assert caught.value.filename == str(place)
