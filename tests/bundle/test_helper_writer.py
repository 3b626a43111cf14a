"""Files made by a second process: nothing is lost, mixed up or written elsewhere, whichever process is quicker."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.bundle.files import FileMaker
from agent.bundle.helper_writer import HelperWriter
from agent.errors import BundleError
from agent.filesystem import helper_process
from bundle_archives import Zip, directory, entry, hard_link, symlink, tar
from bundle_box import Box, Tree, tree

MANY = 6000
NAMES = st.sampled_from([b"a", b"b", b"a/a", b"a/b", b"b/a", b"b/a/a", b"a/b/c"])
TARGETS = st.sampled_from([b"a", b"b", b"..", b"../a", b"/"])
CONTENTS = st.sampled_from([b"", b"1", b"22" * 300])
ENTRIES = st.one_of(
    st.builds(entry, NAMES, CONTENTS, mode=st.sampled_from([0o600, 0o4755])),
    st.builds(entry, NAMES, CONTENTS),
    st.builds(directory, NAMES),
    st.builds(symlink, NAMES, TARGETS),
    st.builds(hard_link, NAMES, NAMES),
)

box_for_all = pytest.fixture(scope="module")(lambda tmp_path_factory: Box(tmp_path_factory.mktemp("helped")))


@contextmanager
def second_process(*, desired: bool = True) -> Iterator[None]:
    """Have archives of any size, on any machine, unpacked by two processes or by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helper_process, "WORTH_A_HELPER", 0 if desired else 1 << 62)
        patch.setattr(helper_process, "_has_a_second_processor", lambda: True)
        yield


@pytest.fixture
def helped() -> Iterator[None]:
    with second_process():
        yield


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "top").mkdir()
    descriptor = os.open(tmp_path / "top", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def outcome(box: Box, archive: bytes, *, desired: bool) -> tuple[Tree | None, str]:
    with second_process(desired=desired):
        try:
            box.unpack(archive)
            return tree(box.destination, times=False), ""
        except BundleError as error:
            return None, str(error)


@example(entries=[entry(b"a"), symlink(b"a", b"b")], is_slow=True)
@example(entries=[entry(b"a"), directory(b"a")], is_slow=True)
@example(entries=[entry(b"a"), entry(b"a/a")], is_slow=True)
@example(entries=[entry(b"a"), hard_link(b"b", b"a"), entry(b"a", b"1")], is_slow=True)
@example(entries=[entry(b"a/a"), symlink(b"a", b"..")], is_slow=True)
@given(entries=st.lists(ENTRIES, max_size=12), is_slow=st.booleans())
def test_whatever_an_archive_holds_two_processes_make_of_it_what_one_makes(
    box_for_all: Box, entries: list[bytes], is_slow: bool
) -> None:
    archive = tar(entry(b"first", b"x"), *entries)
    with pytest.MonkeyPatch.context() as patch:
        if is_slow:
            make = HelperWriter._make
            patch.setattr(HelperWriter, "_make", lambda *arguments: (time.sleep(0.002), make(*arguments)))
        found, message = outcome(box_for_all, archive, desired=True)
    expected, expected_message = outcome(box_for_all, archive, desired=False)
    assert (found, message) == (expected, expected_message)


@pytest.mark.parametrize("bundle_type", ["tar", "zip"])
def test_every_file_of_many_arrives_with_content_mode_and_time(box: Box, helped: None, bundle_type: str) -> None:
    files = {f"d{number % 7}/f{number}": b"%d" % number * (number % 50) for number in range(MANY)}
    if bundle_type == "tar":
        archive = tar(*(entry(name.encode(), data, mode=0o640) for name, data in files.items()))
    else:
        zipped = Zip()
        for name, data in files.items():
            zipped.add(name.encode(), data, mode=0o100640)
        archive = zipped.data()
    found = box.unpack(archive, bundle_type)
    assert {name: rest[5] for name, rest in found.items() if "/" in name} == files
    assert {rest[1] for name, rest in found.items() if "/" in name} == {"0o640"}
    if bundle_type == "tar":
        assert {rest[4] for name, rest in found.items() if "/" in name} == {1_000_000_000 * 10**9}


def test_the_second_process_makes_what_it_is_given(tmp_path: Path, top: int) -> None:
    with HelperWriter(FileMaker(top, 0o022)) as second:
        assert second.give(b"f", b"content", 0o4711, None, 5_000_000_001)
        assert second.give(b"g", b"", 0o600, None, None)
        second.wait_for(b"f")
        assert (tmp_path / "top/f").read_bytes() == b"content"
        second.finish()
    found = tree(tmp_path / "top")
    assert found["f"][1] == "0o4711"
    assert found["f"][4] == 5_000_000_001
    assert found["g"][1] == "0o600"


def test_what_it_cannot_be_given_is_left_to_the_first(top: int) -> None:
    with HelperWriter(FileMaker(top, 0o022)) as second:
        assert not second.give(b"large", bytes(200_000), 0o644, None, None)
        assert not second.give(b"n" * 9000, b"", 0o644, None, None)
        assert not second.give(b"late", b"", 0o644, None, 1 << 70)
        assert not second.give(b"nobody", b"", 0o644, (-5, 1 << 40), None)
        second.finish()


def test_a_kernel_with_little_room_for_messages_still_unpacks(
    box: Box, helped: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.bundle.helper_writer._ROOM", 1)
    files = [entry(b"f%d" % number, b"x" * number) for number in range(0, 20_000, 1000)]
    found = box.unpack(tar(*files))
    assert [len(found[f"f{number}"][5]) for number in range(0, 20_000, 1000)] == list(range(0, 20_000, 1000))


def test_an_error_of_the_second_process_names_the_entry(box: Box, helped: None) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    archive = tar(entry(b"d/small", b"x"), entry(b"d/too-large", bytes(90_000)), *[entry(b"e%d" % n) for n in range(9)])
    box.archive.write_bytes(archive)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        with pytest.raises(BundleError) as caught:
            box.unpack(box.archive)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "'d/too-large'" in str(caught.value)
    assert os.strerror(errno.EFBIG) in str(caught.value)
    assert os.listdir(box.deployment) == []


@pytest.mark.parametrize("asked", ["give", "finish"])
def test_a_second_process_that_is_killed_fails_the_bundle(top: int, asked: str) -> None:
    before = set(psutil.Process().children())
    with HelperWriter(FileMaker(top, 0o022)) as second:
        (other,) = set(psutil.Process().children()) - before
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        ask = {"give": partial(second.give, b"f", b"x", 0o644, None, None), "finish": second.finish}
        with pytest.raises(ChildProcessError):
            ask[asked]()


def test_killed_while_it_has_work_it_does_not_hold_the_deployment(top: int) -> None:
    before = set(psutil.Process().children())
    with HelperWriter(FileMaker(top, 0o022)) as second:
        (other,) = set(psutil.Process().children()) - before
        other.suspend()
        assert second.give(b"f", b"x", 0o644, None, None)
        other.kill()
        with pytest.raises(ChildProcessError):
            second.wait_for(b"f")


def test_a_bundle_whose_second_process_the_kernel_killed_is_refused_with_the_reason(
    box: Box, helped: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HelperWriter, "_make", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    message = box.refused(tar(*(entry(b"f%d" % number, b"x") for number in range(500))))
    assert "ended with status -9" in message
    assert "kernel log" in message
    assert "entry" not in message


def test_without_descriptors_for_it_the_bundle_is_refused_whole(
    box: Box, helped: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*arguments: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socketpair", none_left)
    assert os.strerror(errno.EMFILE) in box.refused(tar(entry(b"f", b"x")))
