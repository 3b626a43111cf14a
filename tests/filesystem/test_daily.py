import fcntl
import os
import subprocess
import sys
import time

import pytest

from agent.filesystem.daily import DailyFile

NOON = time.mktime((2026, 11, 23, 12, 0, 0, 0, 0, -1))
DAY = 24 * 3600


class Clock:
    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(tmp_path, clock):
    file = DailyFile(str(tmp_path / "agent.log"), largest=100, clock=clock)

    def append(text):
        file.append(text.encode() + b"\n")
        os.utime(tmp_path / "agent.log", (clock.now, clock.now))

    yield append
    file.close()


def contents(directory):
    return {name: (directory / name).read_text() for name in sorted(os.listdir(directory))}


def test_each_day_has_a_file_of_its_own(tmp_path, log, clock):
    log("first")
    log("second")
    clock.now += DAY
    log("third")
    assert contents(tmp_path) == {"agent.20261123.log": "first\nsecond\n", "agent.log": "third\n"}


def test_a_restart_on_the_next_day_still_puts_yesterdays_file_aside(tmp_path):
    path = tmp_path / "agent.log"
    path.write_text("yesterday\n")
    os.utime(path, (NOON, NOON))
    DailyFile(str(path), clock=Clock(NOON + DAY)).append(b"today\n")
    assert contents(tmp_path) == {"agent.20261123.log": "yesterday\n", "agent.log": "today\n"}


def test_a_restart_on_the_same_day_goes_on_in_the_file(tmp_path):
    path = tmp_path / "agent.log"
    path.write_text("before\n")
    os.utime(path, (NOON, NOON))
    DailyFile(str(path), clock=Clock()).append(b"after\n")
    assert contents(tmp_path) == {"agent.log": "before\nafter\n"}


def test_a_full_file_is_put_aside_within_the_day_and_none_is_overwritten(tmp_path, log):
    for number in range(4):
        log(f"{number}" * 100)
    assert list(contents(tmp_path)) == [
        "agent.20261123.1.log",
        "agent.20261123.2.log",
        "agent.20261123.log",
        "agent.log",
    ]
    assert contents(tmp_path)["agent.20261123.1.log"] == "1" * 100 + "\n"


def test_files_of_seven_days_are_kept_and_strangers_are_left_alone(tmp_path, log, clock):
    strangers = ["agent.log.age", "agent.txt", "agent.old.log", "other.20200101.log"]
    for name in strangers:
        (tmp_path / name).write_text("")
    (tmp_path / "agent.20200101.3.log").write_text("")
    for _ in range(12):
        log("text")
        clock.now += DAY
    dated = [f"agent.{date}.log" for date in range(20261127, 20261131)]
    dated += [f"agent.{date}.log" for date in range(20261201, 20261204)]
    assert sorted(contents(tmp_path)) == sorted([*strangers, *dated, "agent.log"])


def test_a_flood_of_lines_keeps_a_bounded_number_of_files(tmp_path, log):
    for number in range(30):
        log(f"{number:03}" + "x" * 100)
    assert len(os.listdir(tmp_path)) == 17
    assert contents(tmp_path)["agent.20261123.28.log"].startswith("028")
    assert contents(tmp_path)["agent.20261123.13.log"].startswith("013")


WRITE = """
import sys
from agent.filesystem import daily
daily.FILES_KEPT = 1000
log = daily.DailyFile(sys.argv[1], largest=4000)
for number in range(2000):
    log.append(b"%s %d\\n" % (sys.argv[2].encode(), number))
"""


def test_two_processes_lose_nothing_and_cut_no_line_while_the_file_rotates(tmp_path):
    path = str(tmp_path / "agent.log")
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, path, name]) for name in ("a", "b")]
    assert [writer.wait() for writer in writers] == [0, 0]
    lines = "".join(contents(tmp_path).values()).splitlines()
    assert sorted(lines) == sorted(f"{name} {number}" for name in ("a", "b") for number in range(2000))
    assert len(os.listdir(tmp_path)) > 3


def test_a_file_that_logrotate_moved_away_is_noticed_without_a_signal(tmp_path, log):
    log("before")
    os.rename(tmp_path / "agent.log", tmp_path / "moved")
    log("after")
    assert contents(tmp_path) == {"agent.log": "after\n", "moved": "before\n"}


def test_a_user_who_locks_the_log_cannot_stop_the_agent(tmp_path, log):
    log("x" * 100)
    with open(tmp_path / "agent.log") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        log("next")
        log("and next")
    assert contents(tmp_path) == {"agent.log": "x" * 100 + "\nnext\nand next\n"}
    log("y" * 100)
    log("rotated at last")
    assert contents(tmp_path)["agent.log"] == "rotated at last\n"


def test_a_line_cut_by_a_full_disk_does_not_spoil_the_next_one(tmp_path):
    code = """
import resource, signal, sys
from agent.filesystem.daily import DailyFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = DailyFile(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
for line in (b"12345\\n", b"67890\\n"):
    try:
        log.append(line)
    except OSError:
        print("refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.append(b"whole\\n")
"""
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path / "agent.log")], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("refused\n", "")
    assert contents(tmp_path) == {"agent.log": "12345\n6789\nwhole\n"}


def test_a_link_in_place_of_the_log_is_not_written_through(tmp_path, log):
    (tmp_path / "victim").write_text("")
    os.symlink(tmp_path / "victim", tmp_path / "agent.log")
    with pytest.raises(OSError, match="symbolic links"):
        log("text")
    assert (tmp_path / "victim").read_text() == ""
