from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from agent.bundle.unpack import UnpackOptions, unpack
from agent.errors import BundleError
from agent.filesystem import helper_process
from bundle_archives import directory, entry, symlink, tar, zip_of
from bundle_box import Box, tree
from guards import require

APPSPEC = entry(b"appspec.yml", b"version: 0.0\n")


@pytest.fixture
def revision(tmp_path: Path) -> Path:
    """A revision with everything that archives can keep: modes, times, links, deep, odd and very long names."""
    top = tmp_path / "revision"
    top.mkdir()
    (top / "appspec.yml").write_text("version: 0.0\nos: linux\n")
    (top / "deep" / "er" / ("d" * 200) / ("e" * 200)).mkdir(parents=True)
    (top / "deep" / "er" / ("d" * 200) / ("e" * 200) / ("f" * 200)).write_text("far down")
    (top / "empty").mkdir()
    (top / "nothing").write_bytes(b"")
    (top / "large").write_bytes(bytes(range(256)) * 4096 + b"tail")
    for name in ("ünï-☃", "space and\ttab", "new\nline", "-dash", "*", "back\\slash", os.fsdecode(b"latin-\xe4\xff")):
        (top / name).write_text(name, errors="surrogateescape")
    # Only root can pack what nobody may read.
    for mode in (0o644, 0o600, 0o755, 0o444, 0o777, *([0o000] if os.geteuid() == 0 else [])):
        path = top / f"mode-{mode:o}"
        path.write_text("x")
        path.chmod(mode)
    (top / "private").mkdir(mode=0o700)
    (top / "shared").mkdir()
    (top / "shared").chmod(0o1777)
    (top / "link").symlink_to("large")
    (top / "dangling").symlink_to("/no/such/place")
    (top / "up").symlink_to("../..")
    os.link(top / "large", top / "deep" / "same-as-large")
    for path in tree(top):
        os.utime(top / path, ns=(10**18, 10**18 + 5 * 10**9), follow_symlinks=False)
    return top


def whole_seconds(found: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    return {name: (*rest[:4], int(rest[4]) // 10**9, rest[5]) for name, rest in found.items()}  # type: ignore[call-overload]


@pytest.mark.needs_tool("tar")
@pytest.mark.parametrize("form", ["gnu", "pax"])
@pytest.mark.parametrize("bundle_type", ["tar", "tgz"])
def test_what_tar_packs_comes_out_as_it_was(box: Box, revision: Path, form: str, bundle_type: str) -> None:
    compress = ["-z"] if bundle_type == "tgz" else []
    subprocess.run(["tar", f"--format={form}", *compress, "-cf", box.archive, "-C", revision, "."], check=True)
    assert whole_seconds(box.unpack(box.archive.read_bytes(), bundle_type)) == whole_seconds(tree(revision))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_python_packs_comes_out_as_it_was(box: Box, revision: Path, form: int) -> None:
    with tarfile.open(box.archive, "w", format=form) as archive:
        archive.add(revision, ".")
    assert whole_seconds(box.unpack(box.archive.read_bytes())) == whole_seconds(tree(revision))


@pytest.mark.needs_tool("tar")
def test_times_are_kept_to_the_nanosecond_where_the_archive_has_them(box: Box, revision: Path) -> None:
    os.utime(revision / "large", ns=(10**18, 10**18 + 123456789))
    subprocess.run(["tar", "--format=pax", "-cf", box.archive, "-C", revision, "."], check=True)
    assert box.unpack(box.archive.read_bytes())["large"][4] == 10**18 + 123456789


@pytest.mark.needs_tool("zip")
def test_what_zip_packs_comes_out_as_it_was_but_for_hard_links(box: Box, revision: Path) -> None:
    subprocess.run(["zip", "-qry", box.archive.with_suffix(".zip"), "."], cwd=revision, check=True)
    (revision / "deep" / "same-as-large").unlink()
    (revision / "deep" / "same-as-large").write_bytes((revision / "large").read_bytes())
    (revision / "shared").chmod(0o777)
    found = box.unpack(box.archive.with_suffix(".zip").read_bytes(), "zip")
    found.pop("deep/same-as-large")
    expected = tree(revision)
    expected.pop("deep/same-as-large")
    # Zip files lie in one second, and zip keeps no times of links.
    shape = {name: (rest[0], rest[1], rest[5]) for name, rest in expected.items()}
    assert {name: (rest[0], rest[1], rest[5]) for name, rest in found.items()} == shape
    assert found["large"][4] == 10**18 + 5 * 10**9
    assert (box.destination / "deep" / "same-as-large").stat().st_nlink == 1


@pytest.mark.needs_tool("tar")
@pytest.mark.needs("root")
def test_owners_are_those_of_the_archive_by_name_and_then_by_number(box: Box) -> None:
    data = tar(
        APPSPEC,
        entry(b"by-name", owner=(12345, 12346), names=(b"games", b"games")),
        entry(b"by-number", owner=(12345, 12346), names=(b"no-such-user-here", b"no-such-group-here")),
        directory(b"d", owner=(5, 60)),
        symlink(b"l", b"d", owner=(7, 7)),
        entry(b"setuid", b"x", mode=0o6755, owner=(5, 60)),
    )
    ours = box.unpack(data)
    theirs = box.directory / "theirs"
    theirs.mkdir()
    subprocess.run(["tar", "-xpf", box.archive, "-C", theirs], check=True)
    assert ours == tree(theirs)
    assert ours["by-number"][2:4] == (12345, 12346)
    assert ours["setuid"][1] == "0o6755"


@pytest.mark.needs("root")
def test_with_ignore_ownership_everything_is_the_agents(box: Box) -> None:
    data = tar(APPSPEC, entry(b"f", owner=(5, 60), names=(b"games", b"games")), directory(b"d", owner=(5, 60)))
    found = box.unpack(data, ignore_ownership=True)
    assert {rest[2:4] for rest in found.values()} == {(0, 0)}


@pytest.mark.needs("root", "users")
def test_an_ordinary_user_unpacks_without_owners_and_can_remove_it_again(box: Box) -> None:
    closed = directory(b"closed", mode=0o400) + directory(b"closed/in", mode=0o750)
    box.archive.write_bytes(tar(entry(b"appspec.yml"), closed, entry(b"closed/in/f", owner=(5, 5))))
    os.chmod(box.directory, 0o755)
    os.chown(box.deployment, 12345, 12345)
    script = (
        "import os, sys, pwd, grp, agent.bundle.tar\n"
        "from agent.bundle.unpack import unpack, UnpackOptions\n"
        "os.setgid(12345); os.setuid(12345)\n"
        "unpack(sys.argv[1], 'tar', sys.argv[2], options=UnpackOptions())\n"
        "unpack(sys.argv[1], 'tar', sys.argv[2], options=UnpackOptions())\n"
    )
    closed_to_them = {
        parent: parent.stat().st_mode for parent in box.directory.parents if parent.stat().st_mode & 0o005 != 0o005
    }
    try:
        for parent, before in closed_to_them.items():
            parent.chmod(before | 0o005)
        subprocess.run([sys.executable, "-c", script, box.archive, box.destination], check=True)
    finally:
        for parent, before in closed_to_them.items():
            parent.chmod(before)
    assert os.listdir(box.deployment) == ["deployment-archive"]
    assert tree(box.destination)["closed/in/f"][2:4] == (12345, 12345)
    assert [tree(box.destination)[name][1] for name in ("closed", "closed/in")] == ["0o400", "0o750"]


@pytest.mark.parametrize("top", ["in", "my-app-0a1b2c3", "appspec"])
@pytest.mark.parametrize("name", ["appspec.yml", "MyAppSpec.txt", "appspec.d/x"])
def test_the_single_top_directory_with_an_appspec_is_left_out(box: Box, top: str, name: str) -> None:
    files = {f"{top}/{name}": b"x", f"{top}/app/f": b"1"}
    for data, bundle_type in ((tar(*[entry(k.encode(), v) for k, v in files.items()]), "tar"), (zip_of(files), "zip")):
        box.unpack(data, bundle_type)
        assert box.text("app/f") == "1"
        assert box.text(name) == "x"


def test_what_macos_puts_beside_the_single_top_directory_does_not_count(box: Box) -> None:
    beside = {"__MACOSX/._site": b"x", "__MACOSX/site/._appspec.yml": b"x", "._site": b"x"}
    files = {"site/appspec.yml": b"y", "site/app/f": b"1", **beside}
    for data, bundle_type in ((tar(*[entry(k.encode(), v) for k, v in files.items()]), "tar"), (zip_of(files), "zip")):
        assert sorted(box.unpack(data, bundle_type)) == ["app", "app/f", "appspec.yml"]
    assert os.listdir(box.deployment) == ["deployment-archive"]


def test_a_top_directory_is_left_out_only_once(box: Box) -> None:
    box.unpack(tar(entry(b"appspec-1/appspec-2/appspec.yml", b"x")))
    assert box.text("appspec-2/appspec.yml") == "x"


@pytest.mark.parametrize(
    "entries",
    [
        (entry(b"in/appspec.yml", b"x"), entry(b"README", b"x")),
        (entry(b"in/appspec.yml", b"x"), entry(b"other/appspec.yml", b"x")),
        (entry(b"in/other.yml", b"x"),),
        (entry(b"in/deeper/appspec.yml", b"x"),),
    ],
    ids=["a file beside it", "a directory beside it", "no appspec in it", "the appspec is further down"],
)
def test_a_top_directory_stays_where_the_rule_does_not_hold(box: Box, entries: tuple[bytes, ...]) -> None:
    assert "in" in box.unpack(tar(*entries))


def test_a_link_as_the_only_entry_is_not_mistaken_for_a_top_directory(box: Box) -> None:
    (box.outside / "appspec.yml").write_text("x")
    assert box.unpack(tar(symlink(b"in", os.fsencode(box.outside))))["in"][0] == "0o120000"


def test_the_top_directory_of_a_directory_bundle_is_never_left_out(box: Box, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "in").mkdir(parents=True)
    (source / "in" / "appspec.yml").write_text("x")
    assert "in/appspec.yml" in box.unpack(source, "directory")


@pytest.mark.parametrize("mode", [0o755, 0o711])
@pytest.mark.parametrize("lifted", [b"./", b"in/"])
def test_the_revisions_own_directory_has_the_mode_of_the_settings(box: Box, mode: int, lifted: bytes) -> None:
    box.unpack(tar(directory(lifted, mode=0o2700), entry(lifted + b"appspec.yml")), directory_mode=mode)
    assert box.destination.stat().st_mode & 0o7777 == mode


@pytest.mark.needs("root")
def test_the_revisions_own_directory_has_the_owner_that_the_archive_gives_it(box: Box) -> None:
    box.unpack(tar(directory(b"./", owner=(5, 60)), APPSPEC))
    assert (box.destination.stat().st_uid, box.destination.stat().st_gid) == (5, 60)


@pytest.mark.needs("root")
def test_a_group_inherited_from_the_deployment_directory_does_not_reach_the_files(box: Box) -> None:
    os.chown(box.deployment, 0, 60)
    box.deployment.chmod(0o2775)
    found = box.unpack(zip_of({"d/f": b"x"}), "zip")
    assert {rest[3] for rest in found.values()} == {os.getegid()}
    assert box.destination.stat().st_mode & 0o7777 == 0o755


def test_directories_that_no_entry_describes_follow_the_umask(box: Box) -> None:
    before = os.umask(0o027)
    try:
        found = box.unpack(tar(entry(b"a/b/f", mode=0o666)))
    finally:
        os.umask(before)
    assert (found["a"][1], found["a/b"][1], found["a/b/f"][1]) == ("0o750", "0o750", "0o666")


def test_directories_that_no_entry_describes_let_no_other_account_exchange_what_is_in_them(box: Box) -> None:
    before = os.umask(0)
    try:
        found = box.unpack(tar(entry(b"a/b/f", mode=0o644)))
        assert (found["a"][1], found["a/b"][1]) == ("0o755", "0o755")
        found = box.unpack(zip_of({"a/b/f": b"x"}), "zip")
        assert (found["a"][1], found["a/b"][1]) == ("0o755", "0o755")
    finally:
        os.umask(before)
    assert box.destination.stat().st_mode & 0o7777 == 0o755


@pytest.mark.needs_tool("setfacl")
def test_an_inherited_access_control_list_lets_no_account_write_into_a_revision(box: Box) -> None:
    subprocess.run(["setfacl", "-d", "-m", "u:games:rwx,g:games:rwx,o::rwx", str(box.deployment)], check=True)
    box.unpack(tar(directory(b"d", mode=0o755), entry(b"d/f", mode=0o644), entry(b"a/b/f", mode=0o644)))
    for path in (box.destination, *(box.destination / name for name in ("d", "d/f", "a", "a/b", "a/b/f"))):
        assert path.stat().st_mode & 0o022 == 0, path  # the group's bits are the mask of the list


def test_an_older_revision_is_replaced_whole(box: Box) -> None:
    box.unpack(tar(entry(b"old"), entry(b"both", b"1")))
    assert sorted(box.unpack(tar(entry(b"new"), entry(b"both", b"2")))) == ["both", "new"]
    assert box.text("both") == "2"


def test_an_older_revision_stands_when_the_new_one_is_refused(box: Box) -> None:
    box.unpack(tar(entry(b"old", b"1")))
    box.refused(tar(entry(b"old", b"2"), entry(b"../evil")))
    assert box.text("old") == "1"


def test_a_link_in_the_destinations_place_is_replaced_not_followed(box: Box) -> None:
    box.destination.symlink_to(box.outside)
    box.unpack(tar(APPSPEC))
    assert not box.destination.is_symlink()


def test_what_a_killed_run_left_is_removed(box: Box) -> None:
    left = box.deployment / ".deployment-archive.unpacking~" / "half"
    left.mkdir(parents=True)
    (left / "file").write_text("x")
    assert list(box.unpack(tar(APPSPEC))) == ["appspec.yml"]


def test_a_revision_put_aside_by_a_killed_run_is_not_lost(box: Box) -> None:
    aside = box.deployment / ".deployment-archive.replaced~"
    aside.mkdir()
    (aside / "old").write_text("1")
    with pytest.raises(BundleError):
        box.unpack(b"not a tar archive at all")
    assert box.text("old") == "1"


def test_bytes_are_counted_up_to_the_end_and_not_too_often(box: Box) -> None:
    told: list[tuple[int, int]] = []
    box.unpack(tar(*[entry(b"f%d" % n, bytes(100_000)) for n in range(30)]), progress=lambda *now: told.append(now))
    total = box.archive.stat().st_size
    assert told[-1] == (total, total)
    assert all(later[0] - earlier[0] >= 256 * 1024 for earlier, later in pairwise(told[:-1]))
    assert len(told) > 5


@pytest.mark.parametrize("bundle_type", ["zip", "directory"])
def test_progress_within_one_large_file_is_seen(box: Box, tmp_path: Path, bundle_type: str) -> None:
    content = os.urandom(3_000_000)
    source: bytes | Path = zip_of({"large": content})
    if bundle_type == "directory":
        source = tmp_path / "source"
        source.mkdir()
        (source / "large").write_bytes(content)
    told: list[tuple[int, int]] = []
    box.unpack(source, bundle_type, progress=lambda *now: told.append(now))
    assert len(told) >= 3
    assert told[-1][0] == told[-1][1] >= len(content)


def test_an_unknown_type_is_named_with_those_that_there_are(box: Box) -> None:
    assert "'rar'" in (message := box.refused(tar(APPSPEC), "rar"))
    assert "tgz" in message


@pytest.mark.parametrize("bundle_type", ["tar", "tgz", "zip"])
def test_an_empty_file_is_explained(box: Box, bundle_type: str) -> None:
    assert "0 bytes" in box.refused(b"", bundle_type)


def test_a_missing_archive_is_named(box: Box) -> None:
    assert "No such file" in box.refused(box.directory / "gone", "tar")
    assert "No such file" in box.refused(box.directory / "gone", "directory")


def test_a_fifo_in_the_archives_place_does_not_hang(box: Box) -> None:
    os.mkfifo(box.directory / "pipe")
    assert "regular file" in box.refused(box.directory / "pipe", "tar")


def test_a_directory_given_as_an_archive_is_explained(box: Box) -> None:
    assert "a directory" in box.refused(box.outside, "tgz")


def test_a_missing_deployment_directory_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar(APPSPEC))
    with pytest.raises(BundleError, match="beside"):
        unpack(str(tmp_path / "a.tar"), "tar", str(tmp_path / "no" / "such"), options=UnpackOptions())


def test_an_archive_of_nothing_gives_an_empty_revision(box: Box) -> None:
    assert box.unpack(bytes(10240)) == {}


def test_no_descriptor_is_left_open(box: Box) -> None:
    open_before = sorted(os.listdir("/proc/self/fd"))
    box.unpack(tar(APPSPEC, entry(b"a/b", bytes(1_000_000))))
    box.unpack(zip_of({"a/b": bytes(1_000_000)}), "zip")
    box.refused(tar(APPSPEC, entry(b"a/b"), entry(b"../x")))
    box.refused(zip_of({"a/b": b"x"})[:-30], "zip")
    assert sorted(os.listdir("/proc/self/fd")) == open_before


@pytest.fixture
def much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let little be so much that the disk is to write it while it is unpacked."""
    require("processors")
    monkeypatch.setattr(helper_process, "WORTH_WRITING_AHEAD", 1000)


def packed(bundle_type: str, tmp_path: Path) -> bytes | Path:
    content = {b"appspec.yml": b"version: 0.0\n", b"file": os.urandom(2000)}
    if bundle_type == "directory":
        for name, data in content.items():
            (tmp_path / os.fsdecode(name)).write_bytes(data)
        return tmp_path
    if bundle_type == "zip":
        return zip_of({os.fsdecode(name): data for name, data in content.items()})
    return tar(*(entry(name, data) for name, data in content.items()))


@pytest.mark.usefixtures("much")
@pytest.mark.parametrize("bundle_type", ["tar", "zip", "directory"])
def test_the_disk_writes_while_much_is_unpacked(
    box: Box, bundle_type: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = psutil.Process().children()
    meanwhile: list[int] = []

    def count(done: int, total: int) -> None:
        meanwhile.append(len(psutil.Process().children()) - len(before))

    found = box.unpack(packed(bundle_type, tmp_path_factory.mktemp("revision")), bundle_type, progress=count)
    assert 1 in meanwhile
    assert psutil.Process().children() == before
    assert set(found) == {"appspec.yml", "file"}


@pytest.mark.usefixtures("much")
def test_what_the_disk_could_not_write_fails_the_revision_and_blames_no_entry(box: Box) -> None:
    before = psutil.Process().children()
    aside = box.deployment.with_name("aside")

    def lose_the_directory(done: int, total: int) -> None:
        # The kernel's own errors come the same way; this is one that can be had without a broken disk.
        (writer,) = [child for child in psutil.Process().children() if child not in before] or [None]
        if writer is not None:
            box.deployment.rename(aside)
            while writer.status() != psutil.STATUS_ZOMBIE:
                pass
            aside.rename(box.deployment)

    message = box.refused(packed("tar", box.directory), progress=lose_the_directory)
    assert message == f"{box.archive} cannot be unpacked: No such file or directory."
