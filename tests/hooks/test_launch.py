"""What a script's process is: its user, its descriptors, its signals, its session."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import time

import pytest

from agent.appspec.model import Script
from agent.errors import DiagnosticCode
from agent.hooks.accounts import Account
from agent.hooks.follower import Follower
from agent.hooks.launch import Launch
from agent.hooks.output import Sinks
from agent.hooks.supervisor import ScriptSupervisor

WHO = 'echo "$(id -u):$(id -g) $HOME $USER $LOGNAME $SHELL $DEPLOYMENT_ID"'


def identity(name):
    entry = pwd.getpwnam(name)
    return f"{entry.pw_uid}:{entry.pw_gid} {entry.pw_dir} {name} {name} {entry.pw_shell} d-TEST00001"


def status_of(lines, key):
    return next(line.split(":")[1].strip() for line in lines if line.startswith(f"{key}:"))


def test_a_script_gets_three_descriptors_and_nothing_else(revision):
    revision.script("", first="#!/bin/ls /proc/self/fd\n")
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        lines = revision.run("script.sh").lines()
    finally:
        os.close(leak)
    listed = lines[lines.index("/proc/self/fd:") + 1 :]
    assert listed == ["0", "1", "2", "3"]  # 3 is the directory that ls itself reads


def test_standard_input_is_empty(revision):
    revision.script("cat; readlink /proc/$$/fd/0")
    assert revision.run("script.sh").lines() == ["/dev/null"]


def test_a_script_leads_a_session_without_a_terminal(revision):
    revision.script("cat /proc/$$/stat")
    fields = revision.run("script.sh").written().decode().rpartition(")")[2].split()
    pid = int(revision.recorder.written().split()[0])
    group, session, terminal = (int(field) for field in fields[2:5])
    assert (group, session, terminal) == (pid, pid, 0)


def test_signals_are_as_in_a_fresh_process_whatever_the_agent_ignores_or_blocks(revision):
    revision.script("", first="#!/bin/cat /proc/self/status\n")
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        lines = revision.run("script.sh").lines()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask | {signal.SIGUSR2}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGHUP, old)
    # Signals 32 and 33 are the C library's own; some programs that start others leave them ignored.
    assert int(status_of(lines, "SigIgn"), 16) & ~(0b11 << 31) == 0
    assert int(status_of(lines, "SigBlk"), 16) == 0


@pytest.mark.needs("root", "users")
@pytest.mark.parametrize("sudo", [False, True])
def test_runas_is_that_user_with_nothing_lost(open_revision, sudo):
    open_revision.script(WHO)
    script = Script("script.sh", runas="games", sudo=sudo)
    assert open_revision.run(script, login_session=False).lines() == [identity("games")]


@pytest.mark.needs("root", "users")
def test_runas_takes_the_number_of_a_user(open_revision):
    open_revision.script("id -un")
    assert open_revision.run(Script("script.sh", runas="5")).lines() == ["games"]


@pytest.mark.needs("root", "users")
@pytest.mark.parametrize("login", [True, False])
def test_runas_leaves_no_way_back_to_root(open_revision, login):
    open_revision.script("", first="#!/bin/cat /proc/self/status\n")
    lines = open_revision.run(Script("script.sh", runas="games"), login_session=login).lines()
    assert set(status_of(lines, "Uid").split()) == {"5"}
    assert set(status_of(lines, "Gid").split()) == {"60"}
    assert status_of(lines, "Groups").split() == ["60"]
    assert int(status_of(lines, "CapEff"), 16) == 0


@pytest.mark.needs("root", "users")
def test_runas_with_a_path_for_which_a_shell_would_need_quotes(open_revision):
    open_revision.script("echo ran as $USER", "my scripts/it's $x.sh")
    script = Script("my scripts/it's $x.sh", runas="games")
    assert open_revision.run(script).lines() == ["ran as games"]


@pytest.mark.needs("root", "users")
def test_supplementary_groups_are_those_of_the_user(open_revision):
    path = open_revision.path(open_revision.script("id -G"))
    account = Account("games", 5, 60, (60, 4, 24), "/usr/games", "/bin/sh")
    launch = Launch([os.fsencode(path)], {b"PATH": b"/bin:/usr/bin"}, b"/", 0o022, switch_to=account)
    deadline = time.monotonic() + 3600
    with ScriptSupervisor(launch, deadline=deadline, grace=1.0) as supervisor:
        follower = Follower(supervisor, Sinks([open_revision.recorder]), on_started=lambda pid, start: None)
        supervisor.let_signals_in()
        follower.until_ended(deadline)
        follower.rest()
        supervisor.release()
    assert sorted(open_revision.recorder.lines()[0].split(), key=int) == ["4", "24", "60"]


@pytest.mark.needs("root")
def test_sudo_of_a_root_agent_is_root_and_keeps_the_deployment(revision, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    revision.script(WHO)
    assert revision.run(Script("script.sh", sudo=True), login_session=False).lines() == [identity("root")]


def test_an_empty_runas_is_none(revision):
    revision.script("id -u")
    assert revision.run(Script("script.sh", runas="")).lines() == [str(os.geteuid())]


def test_an_unknown_user_is_told_and_nothing_runs(revision):
    revision.script("echo ran")
    error = revision.fail(Script("script.sh", runas="no-such-user"))
    assert error.code is DiagnosticCode.SCRIPT_FAILED
    assert error.script_name == "script.sh"
    assert "no user 'no-such-user'" in str(error)
    assert revision.recorder.lines() == []
    assert revision.recorder.lines("stderr") == [str(error)]


def test_the_log_says_why_a_script_was_not_started(revision):
    revision.script("echo ran", first="#!/no/such/shell\n")
    error = revision.fail("script.sh")
    assert revision.recorder.lines("stderr") == [str(error)]
    assert str(error) not in error.log, "the service gets the reason once, as the message"


@pytest.mark.needs("root", "users")
def test_a_directory_that_the_user_may_not_pass_is_named(open_revision):
    open_revision.script("echo ran", "closed/script.sh")
    os.chmod(open_revision.path("closed"), 0o700)
    error = open_revision.fail(Script("closed/script.sh", runas="games"))
    assert error.code is DiagnosticCode.SCRIPT_FAILED
    assert f"user games may not pass the directory {open_revision.path('closed')}" in str(error)


@pytest.mark.needs("root", "users")
def test_a_script_that_its_user_may_not_execute_is_told_with_its_mode(open_revision):
    open_revision.script("echo ran", mode=0o744)
    error = open_revision.fail(Script("script.sh", runas="games"))
    assert "(mode 0744)" in str(error)


FAKE_SUDO = """\
#!/bin/sh
printf 'sudo'; printf ' <%s>' "$@"; echo
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""


@pytest.mark.needs("root", "users")
@pytest.mark.parametrize(
    ("script", "user"),
    [
        (Script("my script.sh", sudo=True), "root"),
        (Script("my script.sh", runas="games"), "games"),
        (Script("my script.sh", runas="games", sudo=True), "games"),
    ],
)
def test_an_agent_that_is_not_root_asks_sudo_without_a_shell(open_revision, as_user, script, user):
    open_revision.script("echo ran for $DEPLOYMENT_ID", "my script.sh")
    open_revision.script("", "bin/sudo", first=FAKE_SUDO)

    def run():
        os.environ["PATH"] = open_revision.path("bin") + ":/usr/bin:/bin"
        os.environ["AWS_REGION"] = "eu-west-1"
        return open_revision.run(script).lines()

    names = "LIFECYCLE_EVENT,DEPLOYMENT_ID,APPLICATION_NAME,DEPLOYMENT_GROUP_NAME,DEPLOYMENT_GROUP_ID,AWS_REGION"
    words = ["-n", "-H", "-u", user, f"--preserve-env={names}", "--", open_revision.path("my script.sh")]
    assert as_user("nobody", run) == ["sudo " + " ".join(f"<{word}>" for word in words), "ran for d-TEST00001"]


@pytest.mark.needs("root", "users")
def test_an_agent_that_is_that_user_already_needs_no_sudo(open_revision, as_user):
    open_revision.script("id -un")
    assert as_user("games", lambda: open_revision.run(Script("script.sh", runas="games")).lines()) == ["games"]


@pytest.mark.needs("root", "users")
def test_a_missing_sudo_is_told(open_revision, as_user):
    open_revision.script("echo ran")

    def fail():
        os.environ["PATH"] = open_revision.path("bin")
        error = open_revision.fail(Script("script.sh", sudo=True))
        return int(error.code), str(error)

    code, text = as_user("nobody", fail)
    assert code == DiagnosticCode.SCRIPT_FAILED
    assert "would need sudo" in text


@pytest.mark.needs("root", "users")
def test_a_user_that_cannot_be_changed_to_is_told(open_revision, as_user):
    open_revision.script("echo ran")
    path = os.fsencode(open_revision.path("script.sh"))

    def run():
        launch = Launch([path], {}, b"/", 0o022, switch_to=Account("games", 5, 60, (60,), "/", "/bin/sh"))
        with ScriptSupervisor(launch, deadline=time.monotonic() + 3600, grace=1.0) as supervisor:
            follower = Follower(supervisor, Sinks([open_revision.recorder]), on_started=lambda pid, start: None)
            supervisor.let_signals_in()
            ending = follower.until_ended(time.monotonic() + 3600)
            supervisor.release()
        return [ending.failed_step, ending.error, open_revision.recorder.lines()]

    assert as_user("nobody", run) == ["user", 1, []]


def test_an_agent_without_standard_descriptors_still_catches_the_output(revision, start_agent):
    revision.script("echo out; echo err >&2")

    def close_all():
        for descriptor in (0, 1, 2):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    agent = start_agent(revision, "run()", preexec_fn=close_all)
    assert agent.wait() == 0
    printed = revision.read("agent.out").splitlines()[2:]
    assert sorted(line for line in printed if not line.startswith("End - ")) == ["err", "out"]
