"""A wheelhouse is used only if it is the one that was meant, whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.fleet.errors import SourceError
from agent.fleet.wheelhouse import parse_sha256, stage
from fleet_box import digest, sums, wheelhouse_files, write_archive, write_directory


@pytest.fixture
def files() -> dict[str, bytes]:
    return wheelhouse_files("9.1", ("pip-26.0-py3-none-any.whl", b"not really pip"))


@pytest.fixture
def into(tmp_path: Path) -> str:
    (tmp_path / "staged").mkdir()
    return str(tmp_path / "staged")


@pytest.mark.parametrize("write", [write_directory, write_archive])
def test_a_whole_one_is_taken(write, files, into, tmp_path) -> None:
    place, sha256 = write(tmp_path / "source", files)
    found = stage(place, sha256=sha256, into=into)
    assert (found.version, found.pip, found.sha256) == ("9.1", "pip-26.0-py3-none-any.whl", sha256)
    assert sorted(os.listdir(into)) == sorted([*files, "SHA256SUMS"])


def test_an_archive_without_a_directory_around_it_is_taken_too(files, into, tmp_path) -> None:
    place, sha256 = write_archive(tmp_path / "flat.tar.gz", files, top=".")
    assert stage(place, sha256=sha256, into=into).version == "9.1"


@pytest.mark.parametrize("write", [write_directory, write_archive])
def test_another_one_is_refused(write, files, into, tmp_path) -> None:
    place, _ = write(tmp_path / "source", files)
    with pytest.raises(SourceError, match="Nothing was installed"):
        stage(place, sha256="0" * 64, into=into)


def test_a_file_that_was_changed_in_a_directory_is_found(files, into, tmp_path) -> None:
    place, sha256 = write_directory(tmp_path / "source", files)
    (tmp_path / "source" / "leaf-1.0-py3-none-any.whl").write_bytes(b"other")
    with pytest.raises(SourceError, match="of leaf"):
        stage(place, sha256=sha256, into=into)


def test_a_file_that_was_added_or_is_missing_is_found(files, into, tmp_path) -> None:
    place, sha256 = write_directory(tmp_path / "source", files)
    (tmp_path / "source" / "sitecustomize.py").write_text("import evil")
    (tmp_path / "source" / "leaf-1.0-py3-none-any.whl").unlink()
    with pytest.raises(SourceError, match=r"differ: leaf-1.0-py3-none-any.whl, sitecustomize.py"):
        stage(place, sha256=sha256, into=into)


def test_a_link_or_a_directory_in_it_is_refused(files, into, tmp_path) -> None:
    place, sha256 = write_directory(tmp_path / "source", files)
    (tmp_path / "source" / "etc").symlink_to("/etc/shadow")
    with pytest.raises(SourceError, match="only plain files do"):
        stage(place, sha256=sha256, into=into)


@pytest.mark.parametrize("lacking", ["requirements.txt", "codedeploy-agent.service", "pip-26.0-py3-none-any.whl"])
def test_one_that_lacks_something_is_no_wheelhouse(lacking, files, into, tmp_path) -> None:
    del files[lacking]
    place, sha256 = write_archive(tmp_path / "lacking.tar.gz", files)
    with pytest.raises(SourceError, match="not a wheelhouse of the agent"):
        stage(place, sha256=sha256, into=into)


def test_an_archive_cannot_write_outside(files, into, tmp_path) -> None:
    place, sha256 = write_archive(tmp_path / "out.tar.gz", files, top="../../..")
    stage(place, sha256=sha256, into=into)
    assert sorted(os.listdir(tmp_path)) == ["out.tar.gz", "staged"]


def test_something_that_is_no_archive_says_so(into, tmp_path) -> None:
    (tmp_path / "page.html").write_bytes(b"<html>404</html>")
    with pytest.raises(SourceError, match=r"not a \.tar\.gz archive"):
        stage(str(tmp_path / "page.html"), sha256=digest(b"<html>404</html>"), into=into)


def test_a_place_that_is_not_there_says_so(into, tmp_path) -> None:
    with pytest.raises(SourceError, match="nowhere cannot be read: No such file"):
        stage(str(tmp_path / "nowhere"), sha256="0" * 64, into=into)


def test_a_list_in_another_form_is_refused(files, into, tmp_path) -> None:
    place, _ = write_directory(tmp_path / "source", files)
    text = sums(files) + b"../../etc/passwd\n"
    (tmp_path / "source" / "SHA256SUMS").write_bytes(text)
    with pytest.raises(SourceError, match="a line that sha256sum does not write"):
        stage(place, sha256=digest(text), into=into)


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "0" * 63])
def test_a_sha256_is_64_hexadecimal_digits(text) -> None:
    with pytest.raises(SourceError, match="64 hexadecimal digits"):
        parse_sha256(text)
    assert parse_sha256(" " + "A" * 64 + "\n") == "a" * 64


@pytest.mark.parametrize(
    "line", ["leaf @ http://example.com/leaf.whl --hash=sha256:" + "0" * 64, "--find-links http://example.com", "-e ."]
)
def test_requirements_that_pip_would_fetch_from_elsewhere_are_refused(line, files, into, tmp_path) -> None:
    files["requirements.txt"] += line.encode() + b"\n"
    place, sha256 = write_archive(tmp_path / "source.tar.gz", files)
    with pytest.raises(SourceError, match="neither a pinned version nor a hash"):
        stage(place, sha256=sha256, into=into)
