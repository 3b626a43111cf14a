import os
import re

import pytest

from agent.store.layout import RESTRICTED, Layout
from agent.store.script_logs import DeploymentsLog, ScriptLog

STAMP = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def layout(tmp_path):
    return Layout(str(tmp_path))


def script_log(layout):
    return ScriptLog(layout, layout.deployment("g", "d-1"))


def script_text(layout):
    with open(layout.script_log(layout.deployment("g", "d-1")), "rb") as file:
        return re.sub(STAMP, b"T", file.read())


def deployments_text(layout):
    with open(layout.deployments_log, "rb") as file:
        return file.read()


def test_the_script_log_has_the_official_form(layout):
    log = script_log(layout)
    log.header("LifecycleEvent - AfterInstall")
    log.header("Script - scripts/h.sh")
    log.output("stdout", b"a\n")
    log.output("stderr", b" b \n")
    log.output("stdout", b"no end")
    assert script_text(layout) == (
        b"T LifecycleEvent - AfterInstall\nT Script - scripts/h.sh\nT [stdout]a\nT [stderr] b \nT [stdout]no end"
    )


def test_no_file_is_made_where_nothing_is_written(layout):
    script_log(layout).close()
    DeploymentsLog(layout, "d-1").close()
    assert os.listdir(layout.root_dir) == []


def test_an_entry_after_a_line_without_end_begins_a_new_line_also_in_a_later_event(layout):
    log = script_log(layout)
    log.output("stdout", b"no end")
    log.header("Script - two")
    log.output("stderr", b"again")
    log.close()
    script_log(layout).header("LifecycleEvent - X")
    assert script_text(layout) == b"T [stdout]no end\nT Script - two\nT [stderr]again\nT LifecycleEvent - X\n"


def test_a_very_long_line_that_comes_in_pieces_is_one_line(layout):
    log = script_log(layout)
    for piece in (b"a" * 70_000, b"b" * 70_000, b"c\n", b"next\n"):
        log.output("stdout", piece)
    assert script_text(layout) == b"T [stdout]" + b"a" * 70_000 + b"b" * 70_000 + b"c\nT [stdout]next\n"


def test_two_streams_whose_lines_are_open_do_not_run_into_each_other(layout):
    log = script_log(layout)
    log.output("stdout", b"out")
    log.output("stderr", b"err\n")
    log.output("stdout", b"more\n")
    assert script_text(layout) == b"T [stdout]out\nT [stderr]err\nT [stdout]more\n"


def test_bytes_that_are_no_text_go_through_as_they_are(layout):
    data = b"\xff\x00\x1b[31m\r\xe4\n"
    log = script_log(layout)
    log.output("stdout", data)
    assert script_text(layout) == b"T [stdout]" + data


def test_the_deployments_log_has_the_official_form_with_its_first_line(layout):
    log = DeploymentsLog(layout, "d-1")
    log.header("LifecycleEvent - X")
    log.output("stdout", b"  text \n")
    log.close()
    DeploymentsLog(layout, "d-2").header("LifecycleEvent - Y")
    assert re.fullmatch(
        rb"# Logfile created on %b [+-]\d{4} by logger.rb/v1.5.0\n"
        rb"\[%b\.\d{3}\] \[d-1\]LifecycleEvent - X\n"
        rb"\[%b\.\d{3}\] \[d-1\]\[stdout\]  text\n"
        rb"\[%b\.\d{3}\] \[d-2\]LifecycleEvent - Y\n" % ((STAMP,) * 4),
        deployments_text(layout),
    )


def test_restricted_logs_are_closed_to_others(tmp_path):
    layout = Layout(str(tmp_path), modes=RESTRICTED)
    script_log(layout).header("LifecycleEvent - X")
    path = layout.script_log(layout.deployment("g", "d-1"))
    assert os.stat(path).st_mode & 0o777 == 0o640
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o750


def test_a_log_that_cannot_be_written_stops_nobody(layout):
    with open(os.path.join(layout.root_dir, "deployment-logs"), "w"):
        pass
    log = DeploymentsLog(layout, "d-1")
    log.header("LifecycleEvent - X")
    log.output("stdout", b"text\n")
    log.close()


def test_spaces_at_the_ends_of_a_text_are_cut_off_in_the_deployments_log_as_ruby_does_it(layout):
    log = DeploymentsLog(layout, "d-1")
    log.output("stdout", b" a\x85 \t\0\r\n")
    assert deployments_text(layout).splitlines()[-1].endswith(b"[d-1][stdout] a\x85")
