"""What an archive must not be able to do, one test for each way to try it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.bundle.names import clean
from agent.bundle.unpack import UnpackOptions, unpack
from agent.errors import BundleError
from agent.filesystem.trees import remove_tree
from bundle_archives import Zip, directory, entry, hard_link, header, symlink, tar
from bundle_box import Box, tree

EVIL = entry(b"evil", b"evil")


@pytest.mark.parametrize("name", [b"../evil", b"a/../../evil", b"a/..", b"..", b"./../evil", b"/../evil"])
def test_a_tar_name_cannot_climb_out(box: Box, name: bytes) -> None:
    assert name.decode() in (message := box.refused(tar(EVIL, entry(name, b"evil"))))
    assert "'..'" in message


def test_an_absolute_tar_name_lands_in_the_revision(box: Box) -> None:
    target = os.fsencode(box.outside / "precious")
    found = box.unpack(tar(entry(target, b"evil")))
    assert found[os.fsdecode(target).lstrip("/")][5] == b"evil"


@pytest.mark.parametrize("target", [b"../../outside", b"/", b"..", b"a/../.."])
def test_a_link_that_leads_out_cannot_be_written_through(box: Box, target: bytes) -> None:
    message = box.refused(tar(directory(b"a"), symlink(b"way", target), entry(b"way/precious", b"evil")))
    assert "'way/precious'" in message
    assert "symbolic link" in message


def test_an_absolute_link_cannot_be_written_through(box: Box) -> None:
    way = symlink(b"way", os.fsencode(box.outside))
    box.refused(tar(way, entry(b"way/precious", b"evil")))
    box.refused(tar(way, directory(b"way/new")))
    box.refused(tar(way, symlink(b"way/new", b"x")))
    box.refused(tar(EVIL, way, hard_link(b"way/new", b"evil")))
    archive = Zip().add(b"way", os.fsencode(box.outside), mode=0o120777).add(b"way/precious", b"evil")
    box.refused(archive.data(), "zip")


def test_a_chain_of_harmless_links_cannot_lead_out_together(box: Box) -> None:
    chain = (directory(b"a/b"), symlink(b"a/b/up", b"../.."), symlink(b"way", b"a/b/up/../../outside"))
    box.refused(tar(*chain, entry(b"way/precious", b"evil")))


def test_links_in_a_circle_end(box: Box) -> None:
    box.refused(tar(symlink(b"a", b"b"), symlink(b"b", b"a"), entry(b"a/x")))
    box.refused(tar(symlink(b"a", b"a/a"), entry(b"a/x")))


def test_a_link_to_a_directory_of_the_archive_is_written_through_as_tar_does(box: Box) -> None:
    found = box.unpack(tar(directory(b"lib"), symlink(b"lib64", b"lib"), entry(b"lib64/f", b"x"), entry(b"lib/g")))
    assert found["lib/f"][5] == b"x"
    assert found["lib64"][5] == b"lib"


def test_a_link_is_replaced_by_a_file_of_its_name_not_written_through(box: Box) -> None:
    way = symlink(b"way", os.fsencode(box.outside / "precious"))
    assert box.unpack(tar(way, entry(b"way", b"new")))["way"][5] == b"new"
    way_in_zip = Zip().add(b"way", os.fsencode(box.outside / "precious"), mode=0o120777)
    assert box.unpack(way_in_zip.add(b"way", b"new").data(), "zip")["way"][5] == b"new"


def test_a_link_replaced_by_a_directory_is_no_way_any_more(box: Box) -> None:
    way = symlink(b"way", os.fsencode(box.outside))
    assert box.unpack(tar(way, directory(b"way"), entry(b"way/precious", b"new")))["way/precious"][5] == b"new"


def test_a_directory_replaced_by_a_link_is_not_entered_by_its_old_name(box: Box) -> None:
    way = symlink(b"way", os.fsencode(box.outside))
    box.refused(tar(directory(b"way"), way, entry(b"way/precious", b"evil")))
    box.refused(tar(directory(b"way/in"), way, entry(b"way/in/precious", b"evil")))
    box.refused(tar(entry(b"way/f"), way))


def test_the_attributes_of_a_directory_do_not_go_to_what_a_link_points_to(box: Box) -> None:
    before = box.outside.stat().st_mode
    box.unpack(tar(directory(b"way", mode=0o777), symlink(b"way", os.fsencode(box.outside), mode=0o777)))
    assert box.outside.stat().st_mode == before


@pytest.mark.parametrize(
    "target", [b"../../outside/precious", b"/etc/passwd", b"nothing", b"", b"../archive", b"directory"]
)
def test_a_hard_link_reaches_nothing_outside_and_no_directory(box: Box, target: bytes) -> None:
    message = box.refused(tar(EVIL, directory(b"directory"), hard_link(b"mine", target), entry(b"mine", b"evil")))
    assert "'mine' is a hard link" in message
    assert (box.outside / "precious").stat().st_nlink == 1


def test_a_hard_link_reaches_nothing_outside_by_a_symbolic_link(box: Box) -> None:
    way = symlink(b"way", os.fsencode(box.outside))
    box.refused(tar(way, hard_link(b"mine", b"way/precious")))


def test_a_hard_link_to_a_symbolic_link_is_a_second_link_not_a_second_name_of_its_target(box: Box) -> None:
    way = symlink(b"way", os.fsencode(box.outside / "precious"))
    found = box.unpack(tar(way, hard_link(b"mine", b"way")))
    assert found["mine"][0] == "0o120000"
    box.refused(tar(symlink(b"way", os.fsencode(box.outside)), hard_link(b"mine", b"way"), entry(b"mine/precious")))


def test_a_file_that_replaces_a_hard_link_leaves_the_other_name_alone(box: Box) -> None:
    found = box.unpack(tar(entry(b"a", b"first"), hard_link(b"b", b"a"), entry(b"b", b"second")))
    assert (found["a"][5], found["b"][5]) == (b"first", b"second")


def test_a_hard_link_to_itself_is_no_file(box: Box) -> None:
    box.refused(tar(hard_link(b"a", b"a")))
    assert box.unpack(tar(entry(b"a", b"x"), hard_link(b"a", b"a")))["a"][5] == b"x"


@pytest.mark.parametrize("kind", [b"3", b"4", b"6"], ids=["character device", "block device", "fifo"])
def test_devices_and_fifos_are_refused(box: Box, kind: bytes) -> None:
    message = box.refused(tar(EVIL, entry(b"dev/thing", kind=kind)))
    assert "'dev/thing'" in message
    assert "device" in message or "fifo" in message


@pytest.mark.parametrize("mode", [0o010644, 0o020644, 0o060644, 0o140644])
def test_devices_fifos_and_sockets_in_a_zip_are_refused(box: Box, mode: int) -> None:
    assert "'thing'" in box.refused(Zip().add(b"thing", mode=mode).data(), "zip")


def test_a_file_is_no_directory_for_what_comes_later(box: Box) -> None:
    message = box.refused(tar(entry(b"a", b"x"), entry(b"a/b", b"y")))
    assert "'a/b'" in message
    assert "'a'" in message
    box.refused(Zip().add(b"a", b"x").add(b"a/b", b"y").data(), "zip")


def test_a_directory_with_something_in_it_is_not_replaced(box: Box) -> None:
    assert "twice" in box.refused(tar(entry(b"a/b", b"y"), entry(b"a", b"x")))
    assert "twice" in box.refused(tar(entry(b"a/b", b"y"), symlink(b"a", b"x")))


def test_of_two_entries_of_one_name_the_last_counts(box: Box) -> None:
    assert box.unpack(tar(entry(b"a", b"1"), entry(b"a", b"2")))["a"][5] == b"2"
    assert box.unpack(tar(entry(b"a", b"1"), directory(b"a"), entry(b"a/b")))["a"][0] == "0o40000"
    assert box.unpack(tar(directory(b"a"), entry(b"a", b"2")))["a"][5] == b"2"
    assert box.unpack(tar(directory(b"a", mode=0o700), directory(b"a", mode=0o750)))["a"][1] == "0o750"


@pytest.mark.parametrize("target", [b"", b"a\0b"])
def test_a_link_to_nowhere_is_refused(box: Box, target: bytes) -> None:
    box.refused(Zip().add(b"a", target, mode=0o120777).data(), "zip")


def test_setuid_is_kept_from_a_tar_and_dropped_from_a_zip(box: Box) -> None:
    assert box.unpack(tar(entry(b"a", mode=0o6755)))["a"][1] == "0o6755"
    assert box.unpack(Zip().add(b"a", mode=0o106755).data(), "zip")["a"][1] == "0o755"


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_setuid_and_setgid_files_are_refused_where_the_settings_say_so(box: Box, mode: int, tmp_path: Path) -> None:
    message = box.refused(tar(entry(b"a", b"x", mode=mode)), reject_unsafe_permissions=True)
    assert "reject_unsafe_permissions_in_bundle" in message
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("x")
    (source / "a").chmod(mode)
    box.refused(source, "directory", reject_unsafe_permissions=True)
    assert box.unpack(source, "directory")["a"][1] == oct(mode)
    # The bits are not restored from a zip, so there is nothing to refuse; directories of the kind are harmless.
    box.unpack(Zip().add(b"a", mode=0o100000 | mode).data(), "zip", reject_unsafe_permissions=True)
    box.unpack(tar(directory(b"d", mode=0o2755)), reject_unsafe_permissions=True)


def test_links_of_both_kinds_are_refused_where_the_settings_say_so(box: Box, tmp_path: Path) -> None:
    for link in (symlink(b"l", b"f"), hard_link(b"l", b"f")):
        assert "reject_symlinks_in_bundle" in box.refused(tar(entry(b"f"), link), reject_symlinks=True)
    archive = Zip().add(b"l", b"f", mode=0o120777).data()
    assert "'l'" in box.refused(archive, "zip", reject_symlinks=True)
    source = tmp_path / "source"
    source.mkdir()
    (source / "l").symlink_to("f")
    assert "'l'" in box.refused(source, "directory", reject_symlinks=True)


@pytest.mark.parametrize("name", [b"/evil", b"../evil", b"a/../b"])
def test_names_that_lead_out_are_refused_where_the_settings_say_so(box: Box, name: bytes) -> None:
    box.refused(tar(entry(name)), reject_path_traversal=True)
    assert "reject_path_traversal" in box.refused(Zip().add(name).data(), "zip", reject_path_traversal=True)


@pytest.mark.parametrize("target", [b"/etc", b"..", b"d/../../x", b"d/up/../.."])
def test_links_that_lead_out_are_refused_where_the_settings_say_so(box: Box, target: bytes) -> None:
    entries = (directory(b"d"), entry(b"appspec.yml"), symlink(b"d/up", b".."), symlink(b"l", target))
    assert "reject_path_traversal_in_bundle" in box.refused(tar(*entries), reject_path_traversal=True)
    assert "l" in box.unpack(tar(*entries))
    nested = (entry(b"in/appspec.yml"), symlink(b"in/l", b"../in/x"))
    box.refused(tar(*nested), reject_path_traversal=True)


@pytest.mark.parametrize("target", [b"d", b"d/nothing", b"d/../f", b"d/up/f", b"."])
def test_links_within_the_revision_pass_that_setting(box: Box, target: bytes) -> None:
    entries = (directory(b"d"), symlink(b"d/up", b".."), symlink(b"l", target))
    assert "l" in box.unpack(tar(*entries), reject_path_traversal=True)


def test_a_link_that_led_out_and_was_replaced_does_not_count(box: Box) -> None:
    entries = (symlink(b"l", b"/etc"), entry(b"l", b"x"), symlink(b"m", b"/etc"), directory(b"m"))
    assert sorted(box.unpack(tar(*entries), reject_path_traversal=True)) == ["l", "m"]


def test_a_million_directory_names_do_not_fill_the_memory(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.bundle.writer._RECORD_LIMIT", 5_000_000)  # the real one takes as long as it is large
    deep = b"/".join([b"d"] * 1900)
    entries = [entry(b"L", b"%d/" % n + deep + b"\0", kind=b"L") + header(b"x", b"5") for n in range(4)]
    try:
        assert "memory" in box.refused(tar(*entries))
    finally:
        remove_tree(str(box.deployment))  # the clean-up of pytest fails at such a depth


def test_a_million_links_do_not_fill_the_memory(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.bundle.writer._RECORD_LIMIT", 50_000)
    entries = [entry(b"L", b"t" * 1000 + b"\0", kind=b"K") + symlink(b"%d" % n, b"") for n in range(60)]
    assert "memory" in box.refused(tar(*entries))


def test_a_tree_too_deep_to_walk_is_removed_again(box: Box) -> None:
    deep = b"/".join([b"d"] * 2000)
    long_name = entry(b"L", deep + b"\0", kind=b"L") + header(b"x", b"5")
    try:
        box.refused(tar(long_name, entry(b"../x")))
        box.archive.write_bytes(tar(long_name))
        unpack(str(box.archive), "tar", str(box.destination), options=UnpackOptions())
        box.unpack(tar(EVIL))
    finally:
        remove_tree(str(box.deployment))


def test_a_name_longer_than_the_system_takes_is_explained(box: Box) -> None:
    message = box.refused(tar(entry(b"L", b"n" * 300 + b"\0", kind=b"L") + header(b"x")))
    assert "255" in message
    assert len(message) < 900


def test_a_name_is_shown_on_one_line_whatever_is_in_it(box: Box) -> None:
    message = box.refused(tar(entry(b"\x1b[31m\n\xff\xe2\x80\xae/../x")))
    assert message.isprintable()
    assert "\\x1b" in message


NAMES = st.sampled_from(
    [b"a", b"b", b"a/b", b"a/c", b"./a", b"a/b/c", b"a//b", b"/a", b"c/", b"./", b"..", b"../x", b"b/../a", b".h/x"]
)
TARGETS = st.sampled_from([b"a", b"b", b"..", b"../../outside", b"../../outside/precious", b"b/..", b"a/b", b"/", b"."])
MODES = st.sampled_from([0o644, 0o755, 0o4711, 0o700, 0])
ENTRIES = st.one_of(
    st.builds(lambda n, d, m: (n, entry(n, d, mode=m)), NAMES, st.sampled_from([b"", b"x", b"y" * 600]), MODES),
    st.builds(lambda n, m: (n, directory(n, mode=m)), NAMES, MODES),
    st.builds(lambda n, t: (n, symlink(n, t)), NAMES, TARGETS),
    st.builds(lambda n, t: (n, hard_link(n, t)), NAMES, TARGETS),
)


@pytest.mark.needs_tool("tar")
@given(named=st.lists(ENTRIES, max_size=6))
def test_whatever_the_entries_are_nothing_escapes_and_the_tree_is_the_one_that_tar_makes(
    named: list[tuple[bytes, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    box = Box(tmp_path_factory.mktemp("box"))
    data = tar(*[one for _, one in named])
    try:
        ours = box.unpack(data)
    except BundleError:
        assert os.listdir(box.deployment) == []
        return
    # Which of two entries of one name tar keeps is left to chance when the first is a link that leads out: it waits
    # with such links, and knows the place it kept for one by its inode number, which the second may get.
    if len({clean(name)[0] for name, _ in named}) < len(named):
        return
    # It also forgets the mode of a directory that comes behind such a link in it, if its name is spelt in another way
    # (a/b, then ./a).
    links = [clean(name)[0] for name, one in named if one[156:157] == b"2"]
    directories = [name for name, one in named if one[156:157] == b"5" and name.rstrip(b"/") != clean(name)[0]]
    if any(link.startswith(clean(name)[0] + b"/") for name in directories for link in links):
        return
    theirs = box.directory / "theirs"
    theirs.mkdir()
    if subprocess.run(["tar", "-xpf", box.archive, "-C", theirs], capture_output=True, check=False).returncode == 0:
        kinds = {name: (rest[0], rest[1], rest[5]) for name, rest in ours.items()}
        assert kinds == {name: (rest[0], rest[1], rest[5]) for name, rest in tree(theirs).items()}
