"""What the lines of each log mean."""

from __future__ import annotations

import json
import time

import pytest

from agent.logview.entries import AgentLines, DeploymentsLines, ScriptLines

AT = time.mktime(time.strptime("2026-11-23 05:13:10", "%Y-%m-%d %H:%M:%S"))


def test_a_line_of_the_agent_is_taken_apart() -> None:
    line = b'2026-11-23T05:13:10 WARN  [x(7)]: It = "so" event=Install command=ab12 deployment="d X" group=g'
    entry = AgentLines("agent").entry(line)
    assert (entry.time, entry.level, entry.text) == (AT, "WARN", 'It = "so"')
    assert (entry.event, entry.command, entry.deployment, entry.group) == ("Install", "ab12", "d X", "g")


@pytest.mark.parametrize(("level", "shown"), [("info", "INFO"), ("warning", "WARN"), ("critical", "ERROR")])
def test_a_json_line_of_the_agent_says_the_same(level: str, shown: str) -> None:
    fields = {"time": "2026-11-23T05:13:10.250Z", "level": level, "message": "so\nit is", "deployment": "d-1"}
    entry = AgentLines("agent").entry(json.dumps(fields).encode())
    assert (entry.time, entry.level, entry.text, entry.deployment) == (1795410790.25, shown, "so\nit is", "d-1")


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b'{"time": 7}', b"a traceback \xff", b'{"time":"2026-11-23T05:13:10Z"}']
)
def test_a_line_of_another_form_keeps_its_place(line: bytes) -> None:
    lines = AgentLines("agent")
    lines.entry(b"2026-11-23T05:13:10 INFO  [x(7)]: first")
    entry = lines.entry(line)
    assert entry.time == AT
    assert entry.text.encode("utf-8", "surrogateescape") == line


def test_what_a_script_prints_belongs_to_its_event() -> None:
    lines = ScriptLines("d-1", "g-1")
    texts = [b"LifecycleEvent - AfterInstall", b"Script - a.sh", b"[stdout]out", b"[stderr] err [x]"]
    entries = [lines.entry(b"2026-11-23 05:13:10 " + text) for text in texts] + [lines.entry(b"no time")]
    assert [(entry.stream, entry.text) for entry in entries[1:]] == [
        ("", "Script - a.sh"),
        ("stdout", "out"),
        ("stderr", " err [x]"),
        ("stdout", "no time"),
    ]
    assert {(entry.event, entry.deployment, entry.group, entry.time) for entry in entries} == {
        ("AfterInstall", "d-1", "g-1", AT)
    }


def test_events_of_deployments_that_run_side_by_side_are_kept_apart() -> None:
    lines = DeploymentsLines()
    said = [("d-1", "LifecycleEvent - Install"), ("d-2", "LifecycleEvent - AfterInstall"), ("d-1", "[stderr]no")]
    entries = [lines.entry(f"[2026-11-23 05:13:10.985] [{name}]{text}".encode()) for name, text in said]
    assert [(entry.deployment, entry.event, entry.stream) for entry in entries] == [
        ("d-1", "Install", ""),
        ("d-2", "AfterInstall", ""),
        ("d-1", "Install", "stderr"),
    ]
    assert lines.entry(b"# Logfile created on 2026-11-23").deployment == ""
