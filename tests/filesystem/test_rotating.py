import fcntl
import os
import subprocess
import sys

import pytest

from agent.filesystem.rotating import RotatingFile


def contents(directory):
    return {name: (directory / name).read_bytes() for name in sorted(os.listdir(directory))}


def test_a_full_file_is_put_aside_under_the_names_of_the_official_agent(tmp_path):
    log = RotatingFile(str(tmp_path / "x.log"), largest=4, opening=lambda: b"#\n")
    for number in range(3):
        log.write(b"line%d\n" % number)
    assert contents(tmp_path) == {"x.log": b"#\nline2\n", "x.log.0": b"#\nline1\n", "x.log.1": b"#\nline0\n"}


def test_never_more_than_the_number_of_files_is_kept(tmp_path):
    log = RotatingFile(str(tmp_path / "x.log"), largest=1)
    for number in range(20):
        log.write(b"%d\n" % number)
    assert contents(tmp_path) == {
        "x.log": b"19\n",
        **{f"x.log.{index}": b"%d\n" % (18 - index) for index in range(7)},
    }


def test_a_later_process_goes_on_in_the_same_file(tmp_path):
    for number in range(2):
        log = RotatingFile(str(tmp_path / "x.log"), opening=lambda: b"#\n")
        log.write(b"%d\n" % number)
        log.close()
    assert contents(tmp_path) == {"x.log": b"#\n0\n1\n"}


WRITE = """
import sys
from agent.filesystem.rotating import RotatingFile
log = RotatingFile(sys.argv[1], largest=4000, kept=1000)
for number in range(3000):
    log.write(b"%s %d\\n" % (sys.argv[2].encode(), number))
"""


def test_two_processes_lose_nothing_and_cut_no_line_while_the_file_rotates(tmp_path):
    path = str(tmp_path / "x.log")
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, path, name]) for name in ("a", "b")]
    assert [writer.wait() for writer in writers] == [0, 0]
    lines = b"".join(contents(tmp_path).values()).split(b"\n")
    assert sorted(filter(None, lines)) == sorted(b"%s %d" % (name, n) for name in (b"a", b"b") for n in range(3000))
    assert len(os.listdir(tmp_path)) > 3


def test_a_user_who_locks_the_log_cannot_hold_up_a_deployment(tmp_path):
    log = RotatingFile(str(tmp_path / "x.log"), largest=4)
    log.write(b"one\n")
    with open(tmp_path / "x.log") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        log.write(b"two\n")
        assert contents(tmp_path) == {"x.log": b"one\ntwo\n"}
    log.write(b"three\n")
    assert contents(tmp_path) == {"x.log": b"three\n", "x.log.0": b"one\ntwo\n"}


FULL = """
import resource, signal, sys
from agent.filesystem.rotating import RotatingFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = RotatingFile(sys.argv[1])
log.write(b"kept\\n")
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))
log.write(b"lost but for its beginning\\n")
log.write(b"lost\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.write(b"after\\n")
"""


def test_a_disk_that_is_full_for_a_while_costs_what_is_written_then_and_says_so(tmp_path):
    path = tmp_path / "file"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    assert path.read_bytes() == b"kept\nlos\nafter\n"
    assert [line.count(str(path)) for line in done.stderr.splitlines()] == [1, 1]
    assert "lacks about" in done.stderr


def test_a_link_in_place_of_the_log_is_not_written_through(tmp_path):
    (tmp_path / "victim").write_bytes(b"")
    os.symlink(tmp_path / "victim", tmp_path / "x.log")
    RotatingFile(str(tmp_path / "x.log")).write(b"text\n")
    assert (tmp_path / "victim").read_bytes() == b""


@pytest.mark.parametrize(("content", "last"), [(None, b""), (b"", b""), (b"ab", b"b")])
def test_the_last_byte_tells_whether_a_line_is_open(tmp_path, content, last):
    if content is not None:
        (tmp_path / "x.log").write_bytes(content)
    assert RotatingFile(str(tmp_path / "x.log")).last_byte() == last


def test_a_pipe_in_the_logs_place_does_not_stop_the_agent(tmp_path, caplog):
    os.mkfifo(tmp_path / "x.log")
    log = RotatingFile(str(tmp_path / "x.log"))
    assert log.last_byte() == b""
    log.write(b"text")
    assert "x.log" in caplog.text
    reader = os.open(tmp_path / "x.log", os.O_RDONLY | os.O_NONBLOCK)
    RotatingFile(str(tmp_path / "x.log")).write(b"text")
    assert os.read(reader, 10) == b""
    os.close(reader)
