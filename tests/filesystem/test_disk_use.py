from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.filesystem.disk_use import disk_use


def test_a_file_with_several_names_counts_once_and_links_are_not_followed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere").write_bytes(b"x" * 500_000)
    bare = disk_use(str(top)).size
    (top / "sub" / "file").write_bytes(b"x" * 100_000)
    os.link(top / "sub" / "file", top / "again")
    os.symlink(tmp_path, top / "link")
    found = disk_use(str(top))
    assert found.is_complete
    assert 100_000 <= found.size - bare < 150_000


def test_counting_ends_where_there_are_too_many_files_and_says_so(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / str(number)).touch()
    assert disk_use(str(tmp_path), at_most=5).is_complete
    assert not disk_use(str(tmp_path), at_most=4).is_complete


def test_what_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert disk_use(str(tmp_path / "gone")) == (0, True)


@pytest.mark.needs("root", "users")
def test_a_closed_directory_makes_the_number_incomplete(tmp_path: Path) -> None:
    import subprocess
    import tempfile

    from other_user import command_as

    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        os.mkdir(f"{top}/closed", 0o700)
        code = f"from agent.filesystem.disk_use import disk_use; print(disk_use({top!r}).is_complete)"
        assert subprocess.run(command_as(65534, 65534, code), capture_output=True, text=True).stdout == "False\n"
