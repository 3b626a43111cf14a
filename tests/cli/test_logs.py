"""``codedeploy-agent logs`` as a person uses it at night."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.store.layout import Layout
from agent.store.script_logs import DeploymentsLog, ScriptLog
from other_user import command_as
from waiting import until

AGENT = """\
2026-11-23T05:13:10 INFO  [x(1)]: Starting version 1
2026-11-23T05:13:11 INFO  [x(2)]: Running script a.sh of BeforeInstall event=BeforeInstall deployment=d-1 group=g-1
2026-11-23T05:13:12 ERROR [x(2)]: BeforeInstall failed in 1 s event=BeforeInstall command=c1 deployment=d-1 group=g-1
2026-11-23T05:13:13 WARN  [x(3)]: Odd \x1b[31m event=Install command=c2 deployment=d-2 group=g-2
"""
SCRIPT = """\
2026-11-23 05:13:12 LifecycleEvent - BeforeInstall
2026-11-23 05:13:12 Script - a.sh
2026-11-23 05:13:12 [stderr]no database
"""
DEPLOYMENTS = """\
# Logfile created on 2026-11-23 05:00:00 +0000 by logger.rb/v1.5.0
[2026-11-23 05:01:00.100] [d-0][stdout]of a deployment that was removed
[2026-11-23 05:13:12.200] [d-1][stderr]no database
"""


class Host:
    """The logs of a host in a directory."""

    def __init__(self, directory: Path, program: Callable[[str], str]) -> None:
        self.log = directory / "log" / "codedeploy-agent.log"
        self.layout = Layout(str(directory / "root"))
        self.config = directory / "agent.yml"
        self.config.write_text(f"root_dir: {directory}/root\nlog_dir: {directory}/log\n")
        self.log.parent.mkdir()
        self.command = [program("codedeploy-agent"), "logs", "--config-file", str(self.config)]

    def fill(self) -> None:
        self.log.write_text(AGENT)
        for path, text in ((self.script_log, SCRIPT), (Path(self.layout.deployments_log), DEPLOYMENTS)):
            path.parent.mkdir(parents=True)
            path.write_text(text)

    @property
    def script_log(self) -> Path:
        return Path(self.layout.script_log(self.layout.deployment("g-1", "d-1")))

    def logs(self, *options: str, status: int = 0) -> list[str]:
        done = subprocess.run([*self.command, *options], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (status, "") or status, done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def host(tmp_path: Path, program: Callable[[str], str]) -> Host:
    return Host(tmp_path, program)


def test_all_logs_are_one_stream_in_the_order_of_time(host: Host) -> None:
    host.fill()
    assert host.logs() == [
        "2026-11-23 05:01:00 out   d-0: of a deployment that was removed",
        "2026-11-23 05:13:10 INFO  Starting version 1",
        "2026-11-23 05:13:11 INFO  d-1 BeforeInstall: Running script a.sh of BeforeInstall",
        "2026-11-23 05:13:12 --    d-1 BeforeInstall: LifecycleEvent - BeforeInstall",
        "2026-11-23 05:13:12 --    d-1 BeforeInstall: Script - a.sh",
        "2026-11-23 05:13:12 err   d-1 BeforeInstall: no database",
        "2026-11-23 05:13:12 ERROR d-1: BeforeInstall failed in 1 s",
        "2026-11-23 05:13:13 WARN  d-2 Install: Odd ?[31m",
    ]


def test_who_asks_for_a_deployment_that_no_log_has_is_told(host: Host) -> None:
    host.fill()
    done = subprocess.run([*host.command, "--deployment", "d-7"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert "no line has what was asked for" in done.stderr


def test_events_of_one_second_keep_their_order(host: Host) -> None:
    """The agent's lines have no fractions of a second, and one second may have several events."""
    host.fill()
    ids = "command=c1 deployment=d-1 group=g-1"
    said = ["AfterInstall started", "AfterInstall succeeded in 0.0 s", "Running script a.sh of BeforeInstall"]
    said += ["BeforeInstall failed in 0.1 s: It says no", "Deployment d-1 ended: Failed in BeforeInstall"]
    host.log.write_text("".join(f"2026-11-23T05:13:12 INFO  [x(2)]: {text} {ids}\n" for text in said))
    shown = [line.partition(": ")[2] for line in host.logs("--deployment", "d-1")]
    assert shown == [*said[:3], "LifecycleEvent - BeforeInstall", "Script - a.sh", "no database", *said[3:]]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--deployment", "d-1"], ["Running", "Event", "Script", "base", "failed"]),
        (["--deployment", "d-1", "--agent"], ["Running", "failed"]),
        (["--group", "g-2"], ["Odd"]),
        (["--event", "BeforeInstall", "--scripts"], ["Event", "Script", "base"]),
        (["--level", "warn"], ["failed", "Odd"]),
        (["--since", "2026-11-23T05:13:13"], ["Odd"]),
        (["--since", "2026-11-23 05:13:12", "--level", "error"], ["failed"]),
        (["--since", "10m"], []),
        (["--deployment", "d-0"], ["removed"]),
    ],
)
def test_what_was_asked_for_is_shown_and_nothing_else(host: Host, options: list[str], found: list[str]) -> None:
    host.fill()
    words = "Running|Event|Script|base|failed|Odd|removed"
    assert [re.search(words, re.sub("^.*?: ", "", line))[0] for line in host.logs(*options)] == found  # type: ignore[index]


def test_programs_get_an_object_a_line(host: Host) -> None:
    host.fill()
    rows = [json.loads(line) for line in host.logs("--json", "--deployment", "d-1")]
    assert {"source": "agent", "level": "ERROR", "event": "BeforeInstall", "command": "c1"}.items() <= rows[-1].items()
    assert {"source": "script", "stream": "stderr", "message": "no database", "group": "g-1"}.items() <= rows[3].items()
    assert all(re.fullmatch(r"2026-11-\d\dT\d\d:\d\d:1[12]Z", row["time"]) for row in rows)


@pytest.mark.parametrize(
    "options", [["--since", "soon"], ["--since", "2026-13-01"], ["--agent", "--scripts"], ["--level", "x"]]
)
def test_a_wrong_option_is_refused_as_usage(host: Host, options: list[str]) -> None:
    assert host.logs(*options, status=64) == []


def test_a_reader_that_has_had_enough_ends_it_quietly(host: Host) -> None:
    host.log.write_text(AGENT * 5000)
    with subprocess.Popen(host.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_only_a_terminal_gets_colours_and_not_against_its_owners_will(
    host: Host, no_color: str, coloured: bool
) -> None:
    host.fill()
    ours, theirs = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm"}
    with subprocess.Popen([*host.command, "--level", "error"], stdout=theirs, env=environment) as process:
        process.wait()
    shown = os.read(ours, 4096)
    os.close(ours)
    os.close(theirs)
    assert (b"\x1b[31mERROR\x1b[0m" in shown) is coloured
    assert (b"\x1b" in shown) is coloured


def test_a_log_that_cannot_be_read_is_named_and_the_others_are_shown(host: Host) -> None:
    host.fill()
    os.rename(host.log, f"{host.log}.real")
    os.symlink(f"{host.log}.real", host.log)  # which nothing of the agent's follows
    done = subprocess.run([*host.command, "--deployment", "d-1"], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{host.log} cannot be read: " in done.stderr
    assert "no database" in done.stdout


@pytest.mark.needs("root", "users")
def test_an_ordinary_user_hears_what_only_root_can_see(program: Callable[[str], str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        host = Host(Path(directory), program)
        host.fill()
        host.log.chmod(0o600)
        Path(host.layout.group("g-1")).chmod(0o711)
        code = "from agent.cli.main import main\nsys.exit(main(sys.argv[1:]))"
        command = command_as(65534, 65534, code, *host.command[1:])
        done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert done.returncode == 1
    for path in (host.log, host.layout.group("g-1")):
        assert f"{path} cannot be read: Permission denied. Run the command as root." in done.stderr


@pytest.fixture
def follow(host: Host, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Start ``logs --follow`` with more options; returns the file with what it prints."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> Path:
        printed = tmp_path / "printed"
        with open(printed, "wb") as file:
            started.append(subprocess.Popen([*host.command, "--follow", *options], stdout=file))
        return printed

    yield start
    for process in started:
        process.terminate()
        process.wait()


def test_a_deployment_that_begins_is_followed_without_a_line_twice(host: Host, follow: Callable[..., Path]) -> None:
    host.log.write_text(time.strftime("%Y-%m-%dT%H:%M:%S INFO  [x(1)]: here\n"))
    printed = follow()
    until(lambda: b"here" in printed.read_bytes(), "what is there already")
    time.sleep(1.2)  # so that it waits for inotify
    both = [ScriptLog(host.layout, host.layout.deployment("g-1", "d-1")), DeploymentsLog(host.layout, "d-1")]
    for number in range(100):
        for log in both:
            log.output("stdout", b"line %d\n" % number)
    until(lambda: b"line 99\n" in printed.read_bytes(), "the lines of the script")
    lines = [line.rpartition(": ")[2] for line in printed.read_text().splitlines()[1:]]
    assert lines == [f"line {number}" for number in range(100)]


@pytest.mark.parametrize(
    ("way", "rate", "seconds", "every"),
    [
        ("rename", 20_000, 1.0, 0.2),
        ("copy", 20_000, 1.0, 0.2),
        pytest.param("rename", 50_000, 20.0, 1.0, marks=pytest.mark.soak_only),
        pytest.param("copy", 50_000, 20.0, 1.0, marks=pytest.mark.soak_only),
    ],
)
def test_no_line_of_a_flood_is_lost_or_doubled_through_rotations(
    host: Host, follow: Callable[..., Path], way: str, rate: int, seconds: float, every: float
) -> None:
    host.log.touch()
    printed = follow("--agent")
    flood = os.path.join(os.path.dirname(os.path.dirname(__file__)), "helpers", "log_flood.py")
    command = [sys.executable, flood, str(host.log), way, str(rate), str(seconds), str(every)]
    written = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    def has_all() -> bool:
        with open(printed, "rb") as file:
            file.seek(max(os.path.getsize(printed) - 100, 0))
            return file.read().endswith(b" %d\n" % (written - 1))

    until(has_all, "the last line")
    numbers = [int(line.rpartition(b" ")[2]) for line in printed.read_bytes().splitlines()]
    assert numbers == list(range(written))
