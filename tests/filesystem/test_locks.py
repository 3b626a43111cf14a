import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest

from agent.filesystem.locks import FileLock, LockTimeoutError

HOLD = """
import sys
from agent.filesystem.locks import FileLock
FileLock(sys.argv[1], purpose="a test").acquire()
print("held", flush=True)
sys.stdin.read()
"""

# Holds the lock while a child runs that was started by exec, then is killed and leaves that child behind.
HOLD_AND_EXEC = """
import os, subprocess, sys
from agent.filesystem.locks import FileLock
lock = FileLock(sys.argv[1], purpose="a test")
lock.acquire()
child = subprocess.Popen(["sleep", "3600"], close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(path, script=HOLD):
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.first_line = process.stdout.readline().strip()
        yield process
        process.kill()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "group.lock")


def lock_of(path):
    return FileLock(path, purpose="another deployment")


def test_a_second_process_waits_no_longer_than_its_limit_and_names_the_holder(path):
    told = []
    with another_process(path) as holder, pytest.raises(LockTimeoutError) as caught:
        lock_of(path).acquire(limit=0.1, on_wait=told.append)
    assert len(told) == 1
    for text in (told[0], caught.value.message):
        assert f"process {holder.pid} " in text
        assert "another deployment" in text
        assert path in text


def test_the_lock_is_free_as_soon_as_its_process_was_killed(path):
    with another_process(path) as holder:
        holder.send_signal(signal.SIGKILL)
        lock_of(path).acquire(limit=3600)


def test_a_waiting_process_goes_on_when_the_holder_lets_go(path):
    with another_process(path) as holder:
        lock = lock_of(path)
        lock.acquire(limit=3600, on_wait=lambda _: holder.stdin.close())
        with lock:
            pass


def test_a_program_that_was_started_meanwhile_does_not_keep_the_lock(path):
    with another_process(path, HOLD_AND_EXEC) as holder:
        child = int(holder.first_line)
        holder.kill()
        holder.wait()
        try:
            os.kill(child, 0)
            lock_of(path).acquire(limit=3600)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_free_lock_is_taken_without_a_word_and_again_after_release(path):
    lock = lock_of(path)
    for _ in range(2):
        lock.acquire(limit=0, on_wait=lambda text: pytest.fail(text))
        with pytest.raises(LockTimeoutError):
            lock_of(path).acquire(limit=0)
        lock.release()
    lock.release()


def test_a_lock_is_let_go_when_its_block_fails(path):
    with pytest.raises(ValueError, match="inside"), lock_of(path):
        raise ValueError("inside")
    lock_of(path).acquire(limit=0)


def test_nobody_else_may_open_the_lock(path):
    lock_of(path).acquire()
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_link_in_place_of_the_lock_is_not_followed(path, tmp_path):
    os.symlink(tmp_path / "victim", path)
    with pytest.raises(OSError, match="symbolic links"):
        lock_of(path).acquire()
    assert not (tmp_path / "victim").exists()


def test_the_holder_is_who_holds_the_lock_whatever_the_file_says(path):
    with another_process(path) as holder:
        for text in ("1\n", "", "nonsense", f"{os.getpid()}\n"):
            with open(path, "w") as file:
                file.write(text)
            assert FileLock.holder(path) == holder.pid


@pytest.mark.needs("root", "mount")
def test_a_disk_without_room_for_a_name_keeps_nobody_from_the_lock(tmp_path):
    with mounted(tmp_path, "size=64k") as directory:
        path = f"{directory}/lock"
        open(path, "x").close()
        with open(f"{directory}/filler", "wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(512))
        with lock_of(path):
            assert FileLock.holder(path) == os.getpid()


@pytest.mark.needs("root", "mount")
def test_a_lock_on_a_read_only_file_system_still_keeps_the_others_out(tmp_path):
    with mounted(tmp_path, "size=64k") as directory:
        path = f"{directory}/lock"
        open(path, "x").close()
        subprocess.run(["mount", "-o", "remount,ro", directory], check=True)
        with another_process(path) as holder:
            assert FileLock.holder(path) == holder.pid
            with pytest.raises(LockTimeoutError):
                lock_of(path).acquire(limit=0)
        with lock_of(path):
            pass


@contextmanager
def mounted(tmp_path, options):
    directory = f"{tmp_path}/mounted"
    os.mkdir(directory)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)
