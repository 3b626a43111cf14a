from __future__ import annotations

import logging
import os

import pytest

from agent.bundle.fetch import PartialFile, ProgressReporter
from agent.errors import BundleError


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def lines_of(caplog, total, steps):
    """What is logged when so many bytes are there at these seconds."""
    caplog.set_level(logging.INFO)
    clock = Clock()
    reporter = ProgressReporter("s3://b/k", None, clock=clock)
    for now, done in steps:
        clock.now = now
        reporter.tell(done, total)
    return [record.getMessage() for record in caplog.records]


def test_a_quick_download_says_nothing_on_its_way(caplog):
    assert lines_of(caplog, 1000, [(0.1 * n, 100 * n) for n in range(1, 10)]) == []


def test_a_download_says_at_every_tenth_how_far_it_is(caplog):
    lines = lines_of(caplog, 1000, [(2 * n, 50 * n) for n in range(1, 6)])
    assert lines == [
        "s3://b/k: 100 bytes of 1000 bytes (10%) received",
        "s3://b/k: 200 bytes of 1000 bytes (20%) received",
    ]


def test_a_slow_download_says_every_ten_seconds_that_it_goes_on_also_where_nobody_knows_its_size(caplog):
    assert lines_of(caplog, None, [(5, 1), (11, 2), (20, 3), (22, 4)]) == [
        "s3://b/k: 2 bytes received",
        "s3://b/k: 4 bytes received",
    ]


def test_a_listener_hears_each_number_once(caplog):
    heard = []
    reporter = ProgressReporter("x", lambda done, total: heard.append((done, total)))
    for done in (1, 1, 2):
        reporter.tell(done, 5)
    reporter.tell(3, None)
    assert heard == [(1, 5), (2, 5)]


def test_what_a_killed_download_left_is_no_way_to_another_file(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".bundle.tar.new~").symlink_to(tmp_path / "victim")
    with PartialFile(str(tmp_path / "bundle.tar"), name="x", mode=0o640) as file:
        file.write_at(file.descriptor, b"new", 0)
        file.keep()
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "bundle.tar").read_text() == "new"
    assert (tmp_path / "bundle.tar").stat().st_mode & 0o7777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["bundle.tar", "victim"]


def test_a_directory_that_is_gone_is_named(tmp_path):
    with pytest.raises(BundleError, match=r"no/bundle\.tar: No such file"):
        PartialFile(str(tmp_path / "no" / "bundle.tar"), name="x", mode=0o644)


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(tmp_path):
    # A limit on the size of files stands for a full disk: the same call fails, with another number.
    import resource
    import signal

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with (
            PartialFile(str(tmp_path / "bundle.tar"), name="s3://b/k", mode=0o644) as file,
            pytest.raises(BundleError, match=r"s3://b/k: there is no room for its 19.5 KiB"),
        ):
            file.reserve(20_000)
        with (
            PartialFile(str(tmp_path / "bundle.tar"), name="s3://b/k", mode=0o644) as file,
            pytest.raises(BundleError, match="no room for all of it"),
        ):
            file.write_at(file.descriptor, b"x" * 20_000, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []
