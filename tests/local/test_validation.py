from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from agent.appspec.parse import FORMAT
from agent.errors import AgentError, AppSpecMissingError, BundleError, SpecificationError, UsageError
from agent.local.validation import ValidationRequest, validate_path

GOOD = "version: 0.0\nos: linux\nfiles:\n  - source: app\n    destination: /srv/app\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "revision"
    (directory / "app").mkdir(parents=True)
    (directory / "app/one.txt").write_text("one\n")
    (directory / "appspec.yml").write_text(GOOD)
    return directory


def pack(directory: Path, path: Path) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in directory.rglob("*"):
                archive.write(file, file.relative_to(directory))
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
            archive.add(directory, ".")
    return path


def test_a_good_directory_is_valid(directory):
    result = validate_path(str(directory), ValidationRequest("appspec.yml"))
    assert result.valid
    assert result.complete
    assert result.problems == ()
    assert result.file == str(directory / "appspec.yml")


@pytest.mark.parametrize("name", ["bundle.tar", "bundle.tgz", "bundle.zip"])
def test_an_archive_is_checked_like_its_directory(directory, tmp_path, name):
    archive = pack(directory, tmp_path / name)
    assert validate_path(str(archive), ValidationRequest("appspec.yml")).problems == ()
    (directory / "app/one.txt").unlink()
    (directory / "app").rmdir()
    archive = pack(directory, tmp_path / name)
    (problem,) = validate_path(str(archive), ValidationRequest("appspec.yml")).problems
    assert "'app' is not in the revision" in problem.message
    assert problem.file == f"{archive}/appspec.yml"


@pytest.mark.parametrize("name", ["bundle.tar", "bundle.tgz", "bundle.zip"])
def test_an_archive_is_known_by_what_it_holds(directory, tmp_path, name):
    archive = pack(directory, tmp_path / name)
    plain = archive.rename(tmp_path / "bundle")
    assert validate_path(str(plain), ValidationRequest("appspec.yml")).complete


@pytest.mark.parametrize("name", ["bundle.tar", "bundle.tar.gz", "bundle.tgz", "bundle.zip", "BUNDLE.ZIP"])
def test_a_broken_archive_cannot_be_read(tmp_path, name):
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(BundleError):
        validate_path(str(tmp_path / name), ValidationRequest("appspec.yml"))


def test_the_unpacked_archive_is_gone_afterwards(directory, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    archive = pack(directory, tmp_path / "bundle.tar")
    validate_path(str(archive), ValidationRequest("appspec.yml"))
    (tmp_path / "broken.tar").write_bytes(archive.read_bytes()[:700])
    with pytest.raises(BundleError):
        validate_path(str(tmp_path / "broken.tar"), ValidationRequest("appspec.yml"))
    assert list(temporary.iterdir()) == []


def test_a_file_alone_is_checked_alone(directory):
    (directory / "appspec.yml").write_text(GOOD + "foo: 1\n")
    result = validate_path(str(directory / "appspec.yml"), ValidationRequest("appspec.yml"))
    assert result.valid
    assert not result.complete
    assert [problem.line for problem in result.problems] == [6]


def test_errors_of_the_text_come_before_anything_is_looked_for(directory):
    (directory / "appspec.yml").write_text("version: 9\nos: linux\nfiles:\n  - source: nope\n    destination: /x\n")
    result = validate_path(str(directory), ValidationRequest("appspec.yml"))
    assert not result.valid
    assert [problem.line for problem in result.problems] == [1]


def test_problems_of_text_and_revision_come_by_line(directory):
    (directory / "appspec.yml").write_text(GOOD + "    mode: 1\n  - source: nope\n    destination: /x\nfoo: 1\n")
    assert [problem.line for problem in validate_path(str(directory), ValidationRequest("appspec.yml")).problems] == [
        6,
        7,
        9,
    ]


def test_appspec_yaml_is_found_and_the_requested_name_first(directory):
    (directory / "appspec.yml").rename(directory / "appspec.yaml")
    assert validate_path(str(directory), ValidationRequest("appspec.yml")).file.endswith("/appspec.yaml")
    (directory / "deploy").mkdir()
    (directory / "deploy/my.yml").write_text(GOOD)
    assert validate_path(str(directory), ValidationRequest("deploy/my.yml")).file.endswith("/deploy/my.yml")


def test_another_file_than_the_requested_one_would_not_be_deployed(directory):
    (problem,) = validate_path(str(directory), ValidationRequest("my.yml")).problems
    assert problem.severity == "error"
    assert "no AppSpec file my.yml, but appspec.yml" in problem.message


def test_a_revision_without_appspec_cannot_be_checked(directory):
    (directory / "appspec.yml").unlink()
    with pytest.raises(AppSpecMissingError):
        validate_path(str(directory), ValidationRequest("appspec.yml"))


def test_an_appspec_that_is_a_link_out_of_the_revision_is_not_read(directory, tmp_path):
    (tmp_path / "elsewhere.yml").write_text(GOOD)
    (directory / "appspec.yml").unlink()
    (directory / "appspec.yml").symlink_to(tmp_path / "elsewhere.yml")
    with pytest.raises(AppSpecMissingError):
        validate_path(str(directory), ValidationRequest("appspec.yml"))


def test_a_name_out_of_the_revision_is_refused(directory):
    with pytest.raises(SpecificationError):
        validate_path(str(directory), ValidationRequest("../revision/appspec.yml"))


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="nope"):
        validate_path(str(tmp_path / "nope"), ValidationRequest("appspec.yml"))


def test_an_appspec_that_is_a_directory_or_a_fifo_is_no_appspec(directory):
    (directory / "appspec.yml").unlink()
    (directory / "appspec.yml").mkdir()
    with pytest.raises(AgentError, match="not a regular file"):
        validate_path(str(directory), ValidationRequest("appspec.yml"))
    (directory / "appspec.yml").rmdir()
    os.mkfifo(directory / "appspec.yml")
    with pytest.raises(AgentError, match="not a regular file"):
        validate_path(str(directory), ValidationRequest("appspec.yml"))


def test_of_an_endless_file_only_a_little_is_read(tmp_path):
    path = tmp_path / "appspec.yml"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    result = validate_path(str(path), ValidationRequest("appspec.yml"))
    assert not result.valid
    assert len(result.data) == FORMAT.max_size + 1


def test_an_archive_cannot_write_outside_its_directory(tmp_path):
    archive = tmp_path / "bundle.tar"
    with tarfile.open(archive, "w") as tar:
        for name, content in (("appspec.yml", GOOD), ("../../../evil", "evil")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    with pytest.raises(BundleError):
        validate_path(str(archive), ValidationRequest("appspec.yml"))


def test_the_current_directory_is_named_where_it_has_no_appspec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AppSpecMissingError, match=f"at the top of {tmp_path}\\."):
        validate_path(".", ValidationRequest("appspec.yml"))


def test_a_missing_appspec_is_reported_with_what_was_looked_for_and_where(directory, tmp_path):
    (directory / "appspec.yml").unlink()
    (directory / "noappspec").mkdir()
    with pytest.raises(AppSpecMissingError) as caught:
        validate_path(str(directory), ValidationRequest("appspec.yml"))
    assert caught.value.message == f"There is no AppSpec file appspec.yml or appspec.yaml at the top of {directory}."
    (directory / "AppSpec.yml").touch()
    with pytest.raises(AppSpecMissingError, match=r"the files there with a similar name are AppSpec\.yml\.") as caught:
        validate_path(str(directory), ValidationRequest("appspec.yml"))
    archive = pack(directory, tmp_path / "bundle.zip")
    with pytest.raises(AppSpecMissingError, match=f"at the top of {archive};"):
        validate_path(str(archive), ValidationRequest("appspec.yml"))


def test_an_unknown_event_is_an_error_beside_everything_else_that_is_wrong(directory):
    text = "hooks:\n  AfterInstal:\n    - location: nope.sh\n  Smoke:\n    - location: nope.sh\n"
    (directory / "appspec.yml").write_text(GOOD + text)
    first, script, second = validate_path(str(directory), ValidationRequest()).problems
    assert (first.line, first.severity, first.remedy) == (7, "error", "Did you mean 'AfterInstall'?")
    assert first.message == "The lifecycle event 'AfterInstal' is unknown, so its scripts never run."
    assert "nope.sh" in script.message
    assert (second.line, second.severity) == (9, "error")
    found = validate_path(str(directory), ValidationRequest(events=("Smoke", "AfterInstal"))).problems
    assert [problem.message for problem in found] == [script.message]


def test_an_appspec_one_directory_too_deep_is_named_with_the_archive_that_was_given(directory, tmp_path):
    deeper = tmp_path / "packed"
    (deeper / "__MACOSX").mkdir(parents=True)
    (deeper / "__MACOSX" / "._site").write_text("")
    directory.rename(deeper / "site")
    archive = pack(deeper, tmp_path / "b.zip")
    assert validate_path(str(archive), ValidationRequest()).valid  # macOS made it of one directory
    (deeper / "README").write_text("")
    archive = pack(deeper, tmp_path / "b.zip")
    with pytest.raises(AppSpecMissingError) as caught:
        validate_path(str(archive), ValidationRequest())
    assert caught.value.message == f"The AppSpec file of {archive} is one directory too deep, in site/appspec.yml."
    assert caught.value.remedy == "Make the directory site the top of the revision."


def test_a_file_stands_for_its_revision_where_that_is_asked_for(directory):
    (directory / "app/one.txt").unlink()
    (directory / "app").rmdir()
    alone = validate_path(str(directory / "appspec.yml"), ValidationRequest())
    assert (alone.valid, alone.complete) == (True, False)
    around = validate_path(str(directory / "appspec.yml"), ValidationRequest(with_revision=True))
    assert (around.valid, around.complete, around.file) == (False, True, str(directory / "appspec.yml"))
