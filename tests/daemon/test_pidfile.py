import os
import signal
import subprocess
import sys

import pytest

from agent.daemon.pidfile import (
    NAME,
    AlreadyRunningError,
    PidFile,
    PidFileError,
    claim_root_directory,
    lock_path,
    running_pid,
)
from agent.store.layout import Layout
from stand_in_agent import running_agent


def test_a_running_agent_is_found_and_a_stopped_one_is_not(tmp_path):
    assert running_pid(str(tmp_path / "pid")) is None
    with running_agent(tmp_path / "pid") as agent:
        assert running_pid(str(tmp_path / "pid")) == agent.pid
        assert (tmp_path / "pid" / NAME).read_text() == f"{agent.pid}\n"
        assert os.stat(tmp_path / "pid" / NAME).st_mode & 0o777 == 0o644
        agent.send_signal(signal.SIGTERM)
        agent.wait()
        assert sorted(os.listdir(tmp_path / "pid")) == [f"{NAME}.lock"]
    assert running_pid(str(tmp_path / "pid")) is None


def test_a_second_agent_is_refused_and_says_who_runs(tmp_path):
    with running_agent(tmp_path) as agent:
        with pytest.raises(AlreadyRunningError, match=f"PID {agent.pid}"):
            PidFile(str(tmp_path)).acquire()
        assert running_pid(str(tmp_path)) == agent.pid


def test_a_recycled_pid_does_not_keep_the_agent_from_starting(tmp_path):
    with running_agent(tmp_path) as agent:
        agent.kill()
        agent.wait()
    with subprocess.Popen(["sleep", "3600"]) as stranger:
        (tmp_path / NAME).write_text(f"{stranger.pid}\n")
        try:
            assert running_pid(str(tmp_path)) is None
            with PidFile(str(tmp_path)):
                assert running_pid(str(tmp_path)) == os.getpid()
        finally:
            stranger.kill()


def test_a_pid_file_that_names_somebody_else_is_never_believed(tmp_path):
    with running_agent(tmp_path):
        (tmp_path / NAME).write_text("1\n")
        with pytest.raises(PidFileError, match="does not name it"):
            running_pid(str(tmp_path))


def test_looking_whether_the_agent_runs_does_not_keep_it_from_starting(tmp_path):
    with PidFile(str(tmp_path)):
        pass
    code = """
import sys
from agent.daemon.pidfile import running_pid
print("looking", flush=True)
while True:
    running_pid(sys.argv[1])
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as looker:
        try:
            looker.stdout.readline()
            for _ in range(50):
                with PidFile(str(tmp_path)):
                    pass
        finally:
            looker.kill()


def test_a_program_that_the_agent_starts_does_not_inherit_the_lock(tmp_path):
    with PidFile(str(tmp_path)), subprocess.Popen(["sleep", "3600"], close_fds=False) as child:
        names = os.listdir(f"/proc/{child.pid}/fd")
        held = {os.path.realpath(f"/proc/{child.pid}/fd/{name}") for name in names}
        child.kill()
    assert lock_path(str(tmp_path / NAME)) not in held


def test_an_official_agent_without_a_lock_is_not_joined_by_a_second_one(tmp_path):
    script = tmp_path / "codedeploy-agent"
    script.write_text("#!/bin/sh\necho up\nread line\n")
    script.chmod(0o755)
    with subprocess.Popen([script, "start"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as official:
        official.stdout.readline()
        (tmp_path / NAME).write_text(f"{official.pid}\n")
        with pytest.raises(AlreadyRunningError, match=f"Process {official.pid} looks like another CodeDeploy agent"):
            PidFile(str(tmp_path)).acquire()
        official.stdin.close()
    with PidFile(str(tmp_path)):
        assert running_pid(str(tmp_path)) == os.getpid()


def test_nobody_else_may_open_the_lock_and_so_keep_the_agent_from_starting(tmp_path):
    path = lock_path(str(tmp_path / NAME))
    with open(path, "w"):
        os.chmod(path, 0o666)
    with PidFile(str(tmp_path)):
        assert os.stat(path).st_mode & 0o777 == 0o600


@pytest.mark.needs("root", "users")
def test_another_user_is_told_that_it_cannot_be_told(tmp_path):
    code = """
import os, sys
from agent.daemon.pidfile import PidFileError, running_pid
os.setuid(65534)
try:
    running_pid(sys.argv[1])
except PidFileError as error:
    print(error)
"""
    with running_agent(tmp_path):
        result = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert "Permission denied" in result.stdout
    assert "as the user that runs the agent" in result.stdout


def test_a_directory_that_cannot_be_made_is_not_called_a_lock(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        PidFileError, match=r"file/pid for the pid file cannot be made: Not a directory.*pid_dir"
    ) as found:
        PidFile(str(tmp_path / "file" / "pid")).acquire()
    assert "lock" not in str(found.value)


def test_a_lock_that_cannot_be_opened_is_named(tmp_path):
    path = lock_path(str(tmp_path / NAME))
    os.mkdir(path)
    with pytest.raises(PidFileError, match=rf"The lock file {path} cannot be opened: Is a directory"):
        PidFile(str(tmp_path)).acquire()


@pytest.mark.parametrize("name", [NAME, f"{NAME}.lock"])
def test_a_pipe_in_a_files_place_does_not_make_status_or_start_wait_for_ever(tmp_path, name):
    os.mkfifo(tmp_path / name)
    if name == NAME:
        assert running_pid(str(tmp_path)) is None
        with PidFile(str(tmp_path)):
            assert running_pid(str(tmp_path)) == os.getpid()
    else:
        with pytest.raises(PidFileError, match="not a regular file"):
            running_pid(str(tmp_path))
        with pytest.raises(PidFileError, match="not a regular file"):
            PidFile(str(tmp_path)).acquire()


def test_a_root_directory_is_free_again_when_its_agent_has_ended(tmp_path):
    layout = Layout(str(tmp_path / "root"))
    with claim_root_directory(layout):
        code = "import sys; from agent.daemon.pidfile import *; claim_root_directory(Layout(sys.argv[1]))"
        second = subprocess.run([sys.executable, "-c", code, layout.root_dir], capture_output=True, text=True)
        assert f"running as PID {os.getpid()} with the same root_dir" in second.stderr
    claim_root_directory(layout).release()


def test_a_root_directory_that_takes_no_lock_does_not_keep_the_agent_from_working(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    claim_root_directory(Layout(str(tmp_path / "file"))).release()
    assert "cannot be locked" in caplog.text
