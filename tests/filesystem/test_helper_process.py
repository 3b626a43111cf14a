"""A part of the work done by a second process: nothing of its errors is lost, and it never outlives the first."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from agent.errors import InstallError
from agent.filesystem import helper_process
from agent.filesystem.helper_process import HelperProcess, is_worth_a_helper, written_ahead
from agent.filesystem.locks import FileLock

HOLDS_A_LOCK = """
import sys, time
from agent.filesystem.helper_process import HelperProcess
from agent.filesystem.locks import FileLock
lock = FileLock(sys.argv[1], purpose="the test")
lock.acquire()
with HelperProcess(lambda: (print("at work", flush=True), time.sleep(600))) as hand:
    hand.join()
"""


def raising(error: Exception) -> None:
    raise error


def test_what_the_other_process_has_done_is_there(tmp_path: Path) -> None:
    with HelperProcess((tmp_path / "made").touch) as helper:
        helper.join()
    assert (tmp_path / "made").exists()


def test_its_error_arrives_with_number_and_file() -> None:
    error = OSError(errno.ENOSPC, "No space left", "/srv/file")
    with pytest.raises(OSError, match="No space left") as caught, HelperProcess(lambda: raising(error)) as helper:
        helper.join()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/srv/file")


def test_its_explained_error_keeps_the_remedy() -> None:
    error = InstallError("It cannot be.", remedy="Do this.")
    with (
        pytest.raises(InstallError, match=r"^It cannot be\. Do this\.$"),
        HelperProcess(lambda: raising(error)) as helper,
    ):
        helper.join()


def test_an_error_longer_than_a_pipe_holds_arrives_whole() -> None:
    text = "x" * 1_000_000
    with pytest.raises(InstallError, match=text), HelperProcess(lambda: raising(InstallError(text))) as helper:
        helper.join()


def test_a_process_that_was_killed_has_not_done_its_part() -> None:
    with (
        pytest.raises(ChildProcessError, match="-9"),
        HelperProcess(lambda: os.kill(os.getpid(), signal.SIGKILL)) as helper,
    ):
        helper.join()


def test_leaving_early_ends_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def note_and_sleep() -> None:
        note.write_text(str(os.getpid()))
        time.sleep(600)

    def leave() -> None:
        with HelperProcess(note_and_sleep):
            while not (note.exists() and note.read_text()):
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_an_interrupt_while_it_is_started_ends_it() -> None:
    before = psutil.Process().children()
    interrupts = [signal.SIGINT]
    me = threading.get_ident()  # another thread of the test's process would take it up at a moment of its own
    os.register_at_fork(before=lambda: signal.pthread_kill(me, interrupts.pop()) if interrupts else None)
    with pytest.raises(KeyboardInterrupt), HelperProcess(lambda: time.sleep(600)):
        pass
    assert not interrupts
    assert psutil.Process().children() == before


def test_the_lock_is_free_when_both_are_gone_and_they_go_together(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    process = subprocess.Popen([sys.executable, "-c", HOLDS_A_LOCK, path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"at work\n"
    process.kill()
    process.wait()
    process.stdout.close()
    FileLock(path, purpose="the test").acquire(limit=3600)


def test_writing_ahead_ends_when_it_is_told(tmp_path: Path) -> None:
    before = psutil.Process().children()
    with written_ahead([str(tmp_path)]):
        assert len(psutil.Process().children()) == len(before) + 1
    assert psutil.Process().children() == before


def test_what_could_not_be_written_ahead_is_an_error_of_the_block(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")

    def work() -> None:
        with written_ahead([gone]):
            time.sleep(4 * helper_process.SYNC_PAUSE)

    # The kernel's own errors come the same way; this is one that can be had without a broken disk.
    with pytest.raises(FileNotFoundError):
        work()


def test_few_files_are_left_to_one_process() -> None:
    assert not is_worth_a_helper(helper_process.WORTH_A_HELPER - 1)


def test_a_single_processor_is_not_shared() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert not is_worth_a_helper(10**6)
    finally:
        os.sched_setaffinity(0, allowed)


AS_MANY_PROCESSES_AS_MAY_BE = """
import os, resource, sys
from agent.bundle import helper_writer, tar, owners
from agent.bundle.unpack import UnpackOptions, unpack
from agent.filesystem import helper_process
from agent.filesystem.helper_process import HelperProcess, written_ahead
import ctypes

directory = sys.argv[1]
helper_process.WORTH_A_HELPER = helper_process.WORTH_WRITING_AHEAD = 0
helper_process._has_a_second_processor = lambda: True
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)  # for root there is no such limit
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))

done = []
with HelperProcess(lambda: done.append("a")) as hand:
    hand.join()
with written_ahead([directory]):
    done.append("b")
for kind in ("tar", "directory"):
    unpack(f"{directory}/source.tar" if kind == "tar" else f"{directory}/source", kind, f"{directory}/{kind}",
           options=UnpackOptions())
print(done, hand.is_alone, *(open(f"{directory}/{kind}/d/f").read() for kind in ("tar", "directory")))
"""


def test_a_host_with_as_many_processes_as_may_be_does_the_work_with_one() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o777)
        (directory / "source" / "d").mkdir(parents=True)
        (directory / "source" / "d" / "f").write_text("content")
        shutil.make_archive(str(directory / "source"), "tar", directory / "source")
        command = [sys.executable, "-c", AS_MANY_PROCESSES_AS_MAY_BE, name]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.stdout == "['a', 'b'] True content content\n", result.stderr
