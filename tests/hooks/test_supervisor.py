"""The process tree of a script: what is ended, what lives on, and what an agent's death changes."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess

import psutil
import pytest

from agent.appspec.model import Script
from agent.errors import DiagnosticCode, ScriptError
from agent.hooks import processes
from agent.hooks.runner import EventContext, HookOptions, run_event


def pids_in(revision, name="pids"):
    try:
        return [int(line) for line in revision.read(name).split()]
    except FileNotFoundError:
        return []


@pytest.fixture
def no_leftovers(revision, alive):
    """Kill what a test has left behind, whatever became of it."""
    yield
    for pid in pids_in(revision):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


pytestmark = pytest.mark.usefixtures("no_leftovers")

TREE = """
pids={directory}/pids
echo $$ >>$pids
sleep 1000 & echo $! >>$pids
setsid sh -c 'trap "" TERM HUP; echo $$ >>'$pids'; while :; do sleep 1000; done' &
(setsid sh -c 'echo $$ >>'$pids'; (trap "" TERM; sh -c "echo \\$\\$ >>'$pids'; sleep 1000; sleep 1000") & exit' &)
until [ $(wc -l <$pids) = 5 ]; do sleep 0.02; done
{last}
"""


@pytest.mark.parametrize(
    "last", ["wait", "trap '' TERM; sleep 1000; sleep 1000", "kill -STOP $$", "exec sleep 1000", "cat /dev/zero"]
)
def test_a_timeout_ends_every_descendant_wherever_it_went(revision, alive, last):
    revision.script(TREE.format(directory=revision.directory, last=last))
    error = revision.time_out(lambda: len(pids_in(revision)) == 5, term_grace_seconds=0.3)
    assert error.code is DiagnosticCode.SCRIPT_TIMED_OUT
    assert not [pid for pid in pids_in(revision) if alive(pid)]


def test_a_timeout_ends_what_forks_faster_than_one_can_look(revision):
    # Each process of the chain forks the next and is gone; it ends by itself should the agent fail to end it.
    revision.script(
        "hop() { [ $SECONDS -lt 8 ] || exit; hop & exit; }; trap '' TERM; hop & sleep 8", first="#!/bin/bash\n"
    )
    revision.fail(Script("script.sh", timeout=1), term_grace_seconds=0.1)
    running = psutil.process_iter(["cmdline"])
    assert not [process for process in running if revision.path("script.sh") in (process.info["cmdline"] or [])]


@pytest.mark.parametrize("last", ["sleep 1000 & wait", "kill -STOP $$"])
def test_on_a_timeout_a_script_is_told_to_end_and_given_time(revision, last):
    revision.script(
        f"trap 'sleep 0.5; echo cleaned up; exit 0' TERM; echo ready; echo $$ >>{revision.path('pids')}; {last}"
    )
    error = revision.time_out(lambda: bool(pids_in(revision)), term_grace_seconds=600.0)
    assert error.code is DiagnosticCode.SCRIPT_TIMED_OUT
    assert revision.recorder.lines() == ["ready", "cleaned up"]


def test_a_timeout_leaves_what_an_earlier_script_started(revision, alive):
    revision.script(f"sleep 1000 >/dev/null 2>&1 & echo $! >>{revision.path('pids')}", "first.sh")
    revision.script("sleep 1000", "second.sh")
    error = revision.fail("first.sh", Script("second.sh", timeout=1), term_grace_seconds=0.1)
    assert error.script_name == "second.sh"
    (earlier,) = pids_in(revision)
    assert alive(earlier)


FAKE_SUDO = """\
#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
exec setpriv --reuid=0 --inh-caps=-all --ambient-caps=-all -- "$@"
"""

CAP_SETUID = 7


def keep_the_right_to_change_users(change_user):
    """Change the user and keep, for programs too, the one capability that makes a sudo of ours possible."""
    libc = ctypes.CDLL(None, use_errno=True)
    keep_capabilities, ambient, raise_ambient = 8, 47, 2
    libc.prctl(keep_capabilities, 1, 0, 0, 0)
    change_user()
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    one = 1 << CAP_SETUID
    assert libc.capset(header, (ctypes.c_uint32 * 6)(one, one, one, 0, 0, 0)) == 0
    assert libc.prctl(ambient, raise_ambient, CAP_SETUID, 0, 0) == 0


@pytest.mark.needs("root", "users")
@pytest.mark.needs_tool("setpriv")
def test_an_agent_that_is_not_root_ends_by_sudo_what_it_has_started_by_sudo(open_revision, as_user, alive):
    open_revision.script("", "bin/sudo", first=FAKE_SUDO)
    open_revision.script("exit 1", "bin/kill")  # a small system has no such program
    open_revision.script(f"id -u; trap '' TERM; echo $$ >{open_revision.path('pids')}; sleep 1000; sleep 1000")

    def run():
        os.environ["PATH"] = open_revision.path("bin") + ":/usr/bin:/bin"
        error = open_revision.time_out(lambda: bool(pids_in(open_revision)), sudo=True, term_grace_seconds=0.1)
        return open_revision.recorder.lines(), int(error.code), "have been ended" in str(error)

    result = as_user("nobody", run, wrapper=keep_the_right_to_change_users)
    assert result == [["0"], DiagnosticCode.SCRIPT_TIMED_OUT, True]
    assert not alive(pids_in(open_revision)[0])


WRITER = """
(trap 'echo broken >{directory}/broken' PIPE
 sleep 0.5
 i=0; while [ $i -lt 40 ]; do head -c 10000 /dev/zero && head -c 10000 /dev/zero >&2 || exit; i=$((i+1)); done
 while [ ! -e {directory}/go ]; do sleep 0.05; done
 head -c 200000 /dev/zero && head -c 200000 /dev/zero >&2 && echo done >{directory}/done) &
echo $! >>{directory}/pids
"""


def test_a_background_process_writes_on_unharmed_when_the_agent_is_gone(revision, start_agent, waiting):
    revision.script(WRITER.format(directory=revision.directory))
    agent = start_agent(revision, "run()")
    assert agent.wait() == 0
    with open(revision.path("go"), "w"):
        pass
    waiting(lambda: os.path.exists(revision.path("done")), what="the last word of the background process")
    assert not os.path.exists(revision.path("broken"))


def test_the_drainer_ends_with_the_last_writer_and_is_small(revision, start_agent, waiting, alive):
    revision.script(WRITER.format(directory=revision.directory))
    assert start_agent(revision, "run()").wait() == 0
    (writer,) = pids_in(revision)
    pipe = os.open(f"/proc/{writer}/fd/1", os.O_WRONLY)  # another end of the same pipe
    try:
        # What the writer starts comes and goes meanwhile.
        ours = {os.getpid(), writer}
        (drainer,) = [
            pid
            for pid in processes.holders([pipe], likely=[], ours=ours)
            if (process := processes.look_up(pid)) is not None and process.parent != writer
        ]
        with open(f"/proc/{drainer}/status", encoding="ascii") as stream:
            status = dict(line.split(":", 1) for line in stream)
        assert int(status["VmRSS"].split()[0]) < 4 * 1024  # KiB
        assert int(status["SigBlk"], 16) == 0  # or nobody could end it but with KILL
    finally:
        os.close(pipe)
    os.kill(writer, signal.SIGKILL)
    for child in children_of(writer):
        os.kill(child, signal.SIGKILL)
    waiting(lambda: not alive(drainer), what="the end of the drainer")


def children_of(pid):
    return [process.pid for process in processes.descendants(pid)]


def test_a_running_script_writes_on_unharmed_when_the_agent_is_killed(revision, start_agent, waiting):
    directory = revision.directory
    revision.script(
        f"""
        echo $$ >>{directory}/pids
        while [ ! -e {directory}/go ]; do sleep 0.05; done
        sleep 1000 & echo $! >>{directory}/pids
        head -c 300000 /dev/zero && head -c 300000 /dev/zero >&2 && echo done >{directory}/done
        """
    )
    agent = start_agent(revision, "run()")
    waiting(lambda: pids_in(revision), what="the script")
    agent.kill()
    agent.wait()
    with open(revision.path("go"), "w"):
        pass
    waiting(lambda: os.path.exists(revision.path("done")), what="the end of the script")
    background = pids_in(revision)[1]
    with open(f"/proc/{background}/fd/1", "wb") as pipe:  # another end of the same pipe
        ours = {os.getpid(), background}
        waiting(lambda: len(processes.holders([pipe.fileno()], likely=[], ours=ours)) == 1, what="one drainer")


def test_a_background_process_writes_on_unharmed_when_the_agent_is_killed_while_it_waits_for_outputs(
    revision, start_agent, waiting, alive
):
    revision.script(f"echo $$ >{revision.path('script')}" + WRITER.format(directory=revision.directory))
    agent = start_agent(revision, "run(wait_for_outputs=True)")
    waiting(lambda: pids_in(revision) and not alive(pids_in(revision, "script")[0]), what="the end of the script")
    agent.kill()
    agent.wait()
    with open(revision.path("go"), "w"):
        pass
    waiting(lambda: os.path.exists(revision.path("done")), what="the last word of the background process")


def test_the_timeout_holds_when_the_agent_is_killed(revision, start_agent, waiting, alive):
    revision.script(TREE.format(directory=revision.directory, last="wait"))
    for timeout in revision.timeouts:
        agent = start_agent(revision, f"run(timeout={timeout}, term_grace_seconds=0.2)")
        waiting(lambda: len(pids_in(revision)) == 5 or agent.poll() is not None, what="the script")  # noqa: B023
        if agent.poll() is None:
            break
        os.unlink(revision.path("pids"))
    agent.kill()
    agent.wait()
    waiting(lambda: not [pid for pid in pids_in(revision) if alive(pid)], what="the end of the tree")


def test_a_killed_agent_leaves_its_locks_and_its_output_free_while_the_script_lives(
    revision, start_agent, waiting, alive
):
    revision.script(f"echo $$ >>{revision.path('pids')}; exec sleep 1000")
    agent = start_agent(
        revision,
        """
        import fcntl
        lock = open(directory + "/lock", "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        run()
        """,
        stdout=subprocess.PIPE,
    )
    waiting(lambda: pids_in(revision), what="the script")
    agent.kill()
    assert agent.communicate()[0] == b""  # the end of its output comes although script and script supervisor live
    with open(revision.path("lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (script,) = pids_in(revision)
    assert alive(script)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_agent_ends_the_tree_before_it_goes(revision, start_agent, waiting, alive, number):
    revision.script(TREE.format(directory=revision.directory, last="echo ready; wait"))
    agent = start_agent(
        revision,
        """
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            run(term_grace_seconds=0.2)
        except KeyboardInterrupt:
            sys.exit(42)
        """,
    )
    waiting(lambda: len(pids_in(revision)) == 5, what="the script")
    agent.send_signal(number)
    assert agent.wait() == 42
    assert not [pid for pid in pids_in(revision) if alive(pid)]


def run_with(revision, on_started, location="script.sh"):
    context = EventContext("AfterInstall", revision.directory, {}, cwd="/")
    options = HookOptions(term_grace_seconds=0.2)
    with pytest.raises(ScriptError) as caught:
        run_event([Script(location, timeout=3600)], context, sinks=[], options=options, on_started=on_started)
    return caught.value


def test_whoever_is_told_of_a_running_script_can_end_its_tree(revision, waiting, alive):
    revision.script(TREE.format(directory=revision.directory, last="wait"))
    seen = []

    def end(running):
        seen.append(running)
        waiting(lambda: len(pids_in(revision)) == 5, what="the script")
        assert processes.look_up(running.pid).start_time == running.start_time
        assert processes.look_up(running.supervisor_pid).start_time == running.supervisor_start_time
        os.kill(running.supervisor_pid, signal.SIGTERM)

    error = run_with(revision, end)
    assert error.code is DiagnosticCode.SCRIPT_FAILED
    assert "ended from outside" in str(error)
    (running,) = seen
    assert (running.location, running.pid) == ("script.sh", pids_in(revision)[0])
    assert not [pid for pid in pids_in(revision) if alive(pid)]


def test_an_agent_does_not_wait_for_ever_for_what_does_not_end(revision, waiting, alive):
    revision.script(f"echo $$ >>{revision.path('pids')}; exec sleep 1000")
    supervisors = []

    def stop(running):
        os.kill(running.supervisor_pid, signal.SIGSTOP)
        waiting(lambda: pids_in(revision), what="the script")
        supervisors.append(running.supervisor_pid)

    context = EventContext("AfterInstall", revision.directory, {}, cwd="/")
    options = HookOptions(term_grace_seconds=0.1)
    with pytest.raises(ScriptError) as caught:
        run_event([Script("script.sh", timeout=1)], context, sinks=[], options=options, on_started=stop)
    assert caught.value.code is DiagnosticCode.SCRIPT_TIMED_OUT
    assert f"could not be ended yet: {pids_in(revision)[0]} (sleep 1000)" in str(caught.value)
    os.kill(supervisors[0], signal.SIGCONT)
    os.waitpid(supervisors[0], 0)
    assert not alive(pids_in(revision)[0])


def test_a_killed_supervisor_fails_the_script_and_does_not_leave_it_running(revision, waiting, alive):
    revision.script(f"echo $$ >>{revision.path('pids')}; sleep 1000 & echo $! >>{revision.path('pids')}; wait")

    def kill(running):
        waiting(lambda: len(pids_in(revision)) == 2, what="the script")
        os.kill(running.supervisor_pid, signal.SIGKILL)

    error = run_with(revision, kill)
    assert error.code is DiagnosticCode.SCRIPT_FAILED
    assert "it was killed" in str(error)
    waiting(lambda: not [pid for pid in pids_in(revision) if alive(pid)], what="the end of the script")


def test_a_failing_callback_ends_the_script(revision, alive):
    revision.script(f"echo $$ >>{revision.path('pids')}; exec sleep 1000")

    def fail(running):
        raise ConnectionError("the record cannot be written")

    context = EventContext("AfterInstall", revision.directory, {}, cwd="/")
    with pytest.raises(ConnectionError):
        run_event([Script("script.sh")], context, sinks=[], options=HookOptions(), on_started=fail)
    assert not [pid for pid in pids_in(revision) if alive(pid)]


def test_an_agent_that_ignores_the_death_of_children_still_learns_how_a_script_ended(revision):
    revision.script("exit 9")
    old = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert "exit code 9" in str(revision.fail("script.sh"))
    finally:
        signal.signal(signal.SIGCHLD, old)


def test_the_supervisor_does_not_stay_behind_a_finished_script(revision, waiting, alive):
    supervisors = []
    revision.script(f"sleep 1000 & echo $! >>{revision.path('pids')}")
    context = EventContext("AfterInstall", revision.directory, {}, cwd="/")
    run_event(
        [Script("script.sh")],
        context,
        sinks=[],
        options=HookOptions(),
        on_started=lambda running: supervisors.append(running.supervisor_pid),
    )
    assert not alive(supervisors[0])
