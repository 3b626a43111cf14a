"""An event's scripts as their author sees them: what is run, how it is judged, and what is told."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import suppress

import psutil
import pytest

from agent.appspec.model import Script
from agent.errors import DiagnosticCode, ScriptError
from agent.hooks.runner import EventContext, HookOptions, run_event


def test_scripts_run_in_their_order_and_the_first_failure_ends_the_event(revision):
    revision.script("echo one", "1.sh")
    revision.script("echo two; exit 1", "2.sh")
    revision.script("echo three", "3.sh")
    error = revision.fail("1.sh", "2.sh", "3.sh")
    assert error.script_name == "2.sh"
    assert revision.recorder.lines() == ["one", "two"]
    scripts = [line for line in revision.recorder.headers if not line.startswith("End - ")]
    assert scripts == ["LifecycleEvent - AfterInstall", "Script - 1.sh", "Script - 2.sh"]


@pytest.mark.parametrize(
    ("script", "timeout", "ending"),
    [
        ("exit 0", 60, r"exit code 0 after \d+\.\d s"),
        ("exit 3", 60, r"exit code 3 after \d+\.\d s"),
        ("kill -KILL $$", 60, r"signal SIGKILL \(9\) after \d+\.\d s"),
        ("sleep 3600", 1, r"timeout after \d+\.\d s"),
        (None, 60, "not started"),
    ],
)
def test_the_logs_have_how_each_script_ended_and_the_diagnostics_do_not(revision, script, timeout, ending):
    if script is not None:
        revision.script(script)
    try:
        revision.run(Script("script.sh", timeout=timeout))
        log = ""
    except ScriptError as error:
        log = error.log
    assert re.fullmatch(f"End - script.sh: {ending}", revision.recorder.headers[-1])
    assert "End - " not in log


def test_an_event_without_scripts_says_nothing(revision):
    assert revision.run().headers == []


def test_the_exit_code_and_the_output_of_a_failed_script_are_told(revision):
    revision.script("echo out1; printf nonl; exit 3", "scripts/h.sh")
    error = revision.fail("scripts/h.sh")
    assert error.code is DiagnosticCode.SCRIPT_FAILED
    assert error.script_name == "scripts/h.sh"
    assert "scripts/h.sh of AfterInstall failed with exit code 3" in str(error)
    assert error.log == "LifecycleEvent - AfterInstall\nScript - scripts/h.sh\n[stdout]out1\n[stdout]nonl"


def test_standard_error_is_marked_as_such(revision):
    revision.script("echo wrong >&2; exit 1")
    assert revision.fail("script.sh").log.endswith("[stderr]wrong\n")


def test_a_script_killed_by_a_signal_is_told_with_the_signal(revision):
    revision.script("kill -KILL $$")
    error = revision.fail("script.sh")
    assert error.code is DiagnosticCode.SCRIPT_FAILED
    assert "SIGKILL (9)" in str(error)


def test_a_missing_script_is_told_with_the_place_where_it_was_looked_for(revision):
    error = revision.fail("scripts/nope.sh")
    assert error.code is DiagnosticCode.SCRIPT_MISSING
    assert error.script_name == "scripts/nope.sh"
    assert revision.path("scripts/nope.sh") in str(error)
    assert error.log == "LifecycleEvent - AfterInstall\n"


def test_a_location_with_a_nul_is_a_missing_script(revision):
    assert revision.fail("a\0b").code is DiagnosticCode.SCRIPT_MISSING


def test_a_script_without_execute_permission_is_given_it_with_a_warning(revision, caplog):
    revision.script("echo ran", mode=0o640)
    assert revision.run("script.sh").lines() == ["ran"]
    assert "script.sh of AfterInstall had no execute permission (mode 0640)" in caplog.text
    assert os.stat(revision.path("script.sh")).st_mode & 0o777 == 0o751


@pytest.mark.needs("root", "users")
def test_a_script_that_cannot_be_made_executable_has_a_code_of_its_own(open_revision, as_user):
    open_revision.script("echo ran", mode=0o644)

    def fail():
        error = open_revision.fail("script.sh")
        return int(error.code), str(error), error.log

    code, text, log = as_user("nobody", fail)
    assert code == DiagnosticCode.SCRIPT_NOT_EXECUTABLE
    assert "Operation not permitted" in text
    assert log == "LifecycleEvent - AfterInstall\n"


def test_a_script_without_a_first_line_for_it_is_run_by_the_shell(revision):
    revision.script('echo "$0" "$#"', first="")
    assert revision.run("script.sh").lines() == [f"{revision.path('script.sh')} 0"]


def test_an_empty_script_succeeds(revision):
    revision.script("", first="")
    revision.run("script.sh")


@pytest.mark.parametrize("name", ["my script.sh", "$HOME.sh", "a;exit 1;'\"*?.sh", "ünï.sh", "-x"])
def test_a_path_is_run_as_it_is_whatever_a_shell_would_make_of_it(revision, name):
    revision.script("echo ran", name)
    assert revision.run(name).lines() == ["ran"]


def test_a_location_may_go_up_and_down_inside_the_revision(revision):
    revision.script("echo ran")
    os.mkdir(revision.path("app"))
    assert revision.run("app/../script.sh", reject_path_traversal=True).lines() == ["ran"]


def test_a_location_outside_the_revision_is_refused_only_by_the_setting(revision, tmp_path):
    revision.script("echo ran")
    revision.directory = str(tmp_path / "archive")
    os.mkdir(revision.directory)
    assert revision.run("../script.sh").lines() == ["ran"]
    error = revision.fail("../script.sh", reject_path_traversal=True)
    assert error.code is DiagnosticCode.SCRIPT_FAILED
    assert "reject_path_traversal_in_bundle" in str(error)
    assert revision.recorder.lines() == ["ran"]


def test_the_working_directory_and_the_umask_are_those_asked_for(revision, tmp_path):
    revision.script("pwd; umask")
    context = EventContext("AfterInstall", revision.directory, {}, cwd=str(tmp_path))
    run_event([Script("script.sh")], context, sinks=[revision.recorder], options=HookOptions(umask=0o027))
    assert revision.recorder.lines() == [str(tmp_path), "0027"]


def test_a_working_directory_that_is_gone_is_told(revision):
    revision.script("echo ran")
    context = EventContext("AfterInstall", revision.directory, {}, cwd=revision.path("gone"))
    with pytest.raises(Exception, match=r"its working directory .*/gone cannot be entered: No such file") as caught:
        run_event([Script("script.sh")], context, sinks=[revision.recorder], options=HookOptions())
    assert caught.value.code is DiagnosticCode.SCRIPT_FAILED


def test_what_is_not_text_reaches_the_sinks_as_it_is_and_the_diagnostics_as_text(revision):
    revision.script(r"printf 'a\000b\033[31m\377\n'; exit 1")
    error = revision.fail("script.sh")
    assert revision.recorder.written() == b"a\0b\x1b[31m\xff\n"
    assert error.log.endswith("[stdout]a\0b\x1b[31m\ufffd\n")


def test_lines_arrive_while_the_script_still_runs(revision, waiting):
    revision.script(f"echo first; while [ ! -e {revision.path('go')} ]; do sleep 0.05; done; echo last")

    class Answering:
        def header(self, text):
            pass

        def output(self, stream, data):
            with open(revision.path("go"), "w"):
                pass

    context = EventContext("AfterInstall", revision.directory, {}, cwd="/")
    sinks = [Answering(), revision.recorder]
    run_event([Script("script.sh", timeout=3600)], context, sinks=sinks, options=HookOptions())
    assert revision.recorder.lines() == ["first", "last"]


def test_a_sink_on_a_full_disk_fails_neither_the_script_nor_the_other_sinks(revision, caplog):
    class Full:
        def header(self, text):
            pass

        def output(self, stream, data):
            raise OSError(28, "No space left on device")

    revision.script("echo one; echo two")
    context = EventContext("AfterInstall", revision.directory, {}, cwd="/")
    run_event([Script("script.sh")], context, sinks=[Full(), revision.recorder], options=HookOptions())
    assert revision.recorder.lines() == ["one", "two"]
    assert caplog.text.count("No space left on device") == 1


def test_a_timeout_ends_the_script_and_keeps_its_last_words(revision):
    revision.script(f"echo whole; printf part; touch {revision.path('ready')}; exec sleep 3600")
    error = revision.time_out(lambda: os.path.exists(revision.path("ready")))
    assert error.code is DiagnosticCode.SCRIPT_TIMED_OUT
    assert "script.sh" in str(error)
    assert re.search(r"timeout of (1 second|\d+ seconds)\.", str(error))
    assert error.log.endswith("[stdout]whole\n[stdout]part")
    assert revision.recorder.written() == b"whole\npart"


def test_each_script_has_a_timeout_of_its_own(revision):
    for seconds in (2, 8, 32, 128):  # a busy machine needs time besides
        revision.script(f"sleep {seconds}; echo done")
        with suppress(ScriptError):
            revision.run(*[Script("script.sh", timeout=seconds * 7 // 4)] * 2)
            break
    assert revision.recorder.lines()[-2:] == ["done", "done"]


@pytest.mark.parametrize("exit_code", [0, 7])
@pytest.mark.parametrize(
    ("redirection", "stream"), [("", "STDOUT"), ("2>/dev/null", "STDOUT"), (">/dev/null", "STDERR")]
)
def test_waiting_for_outputs_fails_at_the_timeout_and_names_the_stream(revision, redirection, stream, exit_code):
    pids = revision.path("pids")
    revision.script(f"sleep 3600 {redirection} & echo $! >{pids}; echo started; exit {exit_code}")
    error = revision.time_out(lambda: os.path.exists(pids), wait_for_outputs=True)
    os.kill(int(revision.read("pids")), 9)
    assert error.code is DiagnosticCode.OUTPUTS_LEFT_OPEN
    assert f"its {stream} was still held open" in str(error)
    assert "(sleep 3600)" in str(error)
    assert revision.recorder.lines() == ["started"]


def test_waiting_for_outputs_takes_in_what_comes_late(revision):
    revision.script("(sleep 0.6; echo late) & echo early")
    assert revision.run("script.sh", wait_for_outputs=True).lines() == ["early", "late"]


def test_a_background_process_is_neither_waited_for_nor_killed_but_named(revision, caplog, alive):
    revision.script("sleep 3600 & echo $!")
    started = int(revision.run("script.sh").lines()[0])
    try:
        assert alive(started)
        assert f"left its stdout and stderr open in process {started} (sleep 3600)" in caplog.text
    finally:
        os.kill(started, 9)


def test_what_a_helper_behind_the_script_still_writes_is_taken_in(revision):
    revision.script("exec > >(sleep 0.05; cat); echo through the helper", first="#!/bin/bash\n")
    assert revision.run("script.sh").lines() == ["through the helper"]


def test_a_background_process_that_never_stops_writing_does_not_hold_up_the_event(revision):
    revision.script(f"yes & echo $! >{revision.path('pid')}")
    revision.run("script.sh")
    os.kill(int(revision.read("pid")), 9)


FLOOD = """
import resource
from agent.appspec.model import Script
from agent.errors import ScriptError
from agent.hooks.runner import EventContext, HookOptions, run_event
class Counter:
    size = 0
    longest = 0
    def header(self, text):
        pass
    def output(self, stream, data):
        self.size += len(data)
        self.longest = max(self.longest, len(data))
def run(location):
    counter = Counter()
    try:
        context = EventContext("E", {directory!r}, {{}}, "/")
        run_event([Script(location)], context, sinks=[counter], options=HookOptions())
    except ScriptError as error:
        return counter, error
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run("small")
before = peak()
counter, error = run("flood")
assert counter.size == 50_000_000, counter.size
assert counter.longest <= 65536, counter.longest
assert len(error.log) <= 2048 and error.log.endswith("xxxx"), error.log
print(peak() - before)
"""


def test_a_line_without_an_end_costs_no_memory(revision, program):
    revision.script("exit 1", "small")
    revision.script("head -c 50000000 /dev/zero | tr '\\0' x; exit 1", "flood")
    result = subprocess.run(
        [program("python"), "-c", FLOOD.format(directory=revision.directory)], check=True, stdout=subprocess.PIPE
    )
    assert int(result.stdout) < 8 * 1024  # KiB


def test_nothing_of_an_event_stays_in_the_agent(revision):
    revision.script("echo ran")
    revision.script("sleep 1 &", "background.sh")
    # Other tests of this process may have a service running below it.
    before, children = set(os.listdir("/proc/self/fd")), psutil.Process().children()
    revision.run("script.sh", "background.sh")
    assert set(os.listdir("/proc/self/fd")) == before
    assert psutil.Process().children() == children
