"""What a script finds where ``runas`` or ``sudo`` logs in to an account, beside ``su`` itself."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess

import pytest

from agent.appspec.model import Script
from agent.errors import ScriptError
from agent.hooks import processes, script_run
from agent.hooks.context import EventContext, HookOptions
from agent.hooks.launch import choose_user, plan_launch
from agent.hooks.runner import run_event
from waiting import until

pytestmark = [pytest.mark.needs("root", "users"), pytest.mark.needs_tool("su")]

VARIABLES_OF_THE_DEPLOYMENT = ("APPLICATION_NAME=", "DEPLOYMENT_", "LIFECYCLE_EVENT=")
PROBE = "env | grep -v ^_= | sort; ulimit -Sn; ulimit -Hn; umask; id; pwd; readlink /proc/$$/fd/0"


def of_su(revision, user, *options):
    """Return what the probe prints where su starts it, as the official agents do it."""
    command = ["su", user, *options, "-c", revision.path("script.sh")]
    variables = dict(os.environ)  # what libraries have set past Python would be inherited without this
    done = subprocess.run(
        command, cwd="/", env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def without_the_deployment(lines):
    return [line for line in lines if not line.startswith(VARIABLES_OF_THE_DEPLOYMENT)]


@pytest.mark.parametrize(("user", "options"), [("root", []), ("games", ["-s", "/bin/sh"])])
def test_a_script_finds_what_it_found_under_su(open_revision, user, options):
    open_revision.script(PROBE)
    lines = open_revision.run(Script("script.sh", runas=user)).lines()
    assert without_the_deployment(lines) == of_su(open_revision, user, *options)
    assert "DEPLOYMENT_ID=d-TEST00001" in lines


def test_sudo_finds_what_root_found_under_su_and_keeps_the_deployment(open_revision):
    open_revision.script(PROBE)
    lines = open_revision.run(Script("script.sh", sudo=True)).lines()
    assert without_the_deployment(lines) == of_su(open_revision, "root")
    assert "DEPLOYMENT_ID=d-TEST00001" in lines


@pytest.mark.parametrize("start", ["", "\n#!/bin/sh\n", "  # Starts the application\n"])
def test_a_script_without_an_interpreter_is_read_by_the_shell_of_its_account(open_revision, start):
    assert os.path.basename(pwd.getpwnam("root").pw_shell) == "bash"
    open_revision.script("[[ a == a ]] && echo started", first=start)
    assert open_revision.run(Script("script.sh", runas="root")).lines() == ["started"]


def test_an_account_that_nobody_logs_in_to_still_runs_scripts(open_revision):
    assert os.path.basename(pwd.getpwnam("games").pw_shell) == "nologin"
    open_revision.script("echo $0", first="")
    assert open_revision.run(Script("script.sh", runas="games")).lines() == [open_revision.path("script.sh")]


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "it's",
        'a "b"',
        "$HOME",
        "`id`",
        "a;id",
        "a&b",
        "*",
        "~root",
        "!1",
        "(a)",
        "a\\b",
        "\u00e9\u65e5",
        "a\nb",
        "{a,b}",
    ],
)
@pytest.mark.needs_tool("bash", "dash")
@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_no_shell_takes_a_part_of_a_path_for_a_command(open_revision, name, shell):
    program = shutil.which(shell)
    assert program is not None
    open_revision.script("echo ran", name)
    user = choose_user(runas="root", sudo=False, login=True)
    assert user.account is not None
    user = user._replace(account=user.account._replace(shell=program))
    launch = plan_launch(open_revision.path(name), user, os.environ, directory="/", umask=0o022)
    command = launch.arguments[launch.arguments.index(b"-c") + 1]
    read_by = program if "\n" not in name else "/bin/sh"
    done = subprocess.run([read_by, "-c", command], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("ran\n", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit 3", "failed with exit code 3."),
        ("exit 126", "failed with exit code 126."),
        ("kill -SEGV $$", "failed with exit code 139, as a script does that signal SIGSEGV (11) has killed."),
    ],
)
def test_the_end_of_a_script_is_told(open_revision, text, said):
    open_revision.script(text)
    assert str(open_revision.fail(Script("script.sh", runas="games"))).endswith(said)


def test_an_interpreter_that_is_not_there_is_named(open_revision):
    open_revision.script("", first="#!/no/such/shell\n")
    error = open_revision.fail(Script("script.sh", runas="games"))
    assert "the interpreter /no/such/shell, which is not on this host" in str(error)


def test_at_its_time_limit_nothing_of_a_script_is_left_and_su_writes_nothing(open_revision, alive):
    open_revision.script(f"sleep 3600 & setsid sleep 3600 & echo $! $$ >{open_revision.path('pids')}; sleep 3600")
    os.chmod(open_revision.directory, 0o777)
    error = time_out(open_revision)
    assert "did not end within its timeout" in str(error)
    pids = list(map(int, open_revision.read("pids").split()))
    until(lambda: not any(map(alive, pids)), "the processes to end")
    assert b"Session terminated" not in open_revision.recorder.written("stderr")


def time_out(revision) -> ScriptError:
    for timeout in revision.timeouts:
        error = revision.fail(Script("script.sh", runas="games", timeout=timeout))
        if os.path.exists(revision.path("pids")) and revision.read("pids").strip():
            return error
    raise AssertionError("the script has never started")


def test_a_script_whose_supervisor_is_killed_leaves_nothing(open_revision, alive):
    open_revision.script("sleep 3600")
    pids: list[int] = []

    def kill_the_supervisor(started):
        until(lambda: processes.descendants(started.pid), "su to start the script")
        pids.extend([started.pid, *(process.pid for process in processes.descendants(started.pid))])
        os.kill(started.supervisor_pid, signal.SIGKILL)

    context = EventContext("AfterInstall", open_revision.directory, {}, cwd="/")
    scripts, sinks = [Script("script.sh", runas="games")], [open_revision.recorder]
    with pytest.raises(ScriptError, match="failed, because the agent's process"):
        run_event(scripts, context, sinks=sinks, options=HookOptions(), on_started=kill_the_supervisor)
    until(lambda: not any(map(alive, pids)), "the processes to end")


def test_a_host_without_su_is_told_of_once_and_the_script_runs(open_revision, monkeypatch, caplog):
    script_run._warn_of_no_session.cache_clear()
    empty = open_revision.path("programs")
    os.mkdir(empty)
    monkeypatch.setenv("PATH", empty)
    open_revision.script("/usr/bin/id -un")
    assert open_revision.run(*[Script("script.sh", runas="games")] * 2).lines() == ["games", "games"]
    warnings = [record.getMessage() for record in caplog.records if "without a login session" in record.getMessage()]
    assert len(warnings) == 1
    assert "neither su nor runuser" in warnings[0]


def test_a_setting_does_without_a_session_and_nothing_is_said(open_revision, caplog):
    script_run._warn_of_no_session.cache_clear()
    open_revision.script("cat /proc/$PPID/comm")
    (parent,) = open_revision.run(Script("script.sh", runas="games"), login_session=False).lines()
    assert parent != "su"
    assert "without a login session" not in caplog.text
