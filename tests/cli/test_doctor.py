"""What a person sees of the doctor: lines that fit the terminal, a document, and the exit status."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from agent.cli.doctor import lines
from agent.doctor.examination import Examined, examine
from agent.doctor.finding import Finding, Result
from agent.doctor.table import CHECKS
from examined_host import ExaminedHost

LONG = "One word after the other, until no line of a usual terminal holds all of them, and then a few more of them."


@pytest.fixture
def host(tmp_path: Path) -> ExaminedHost:
    return ExaminedHost(tmp_path / "host", proxy_uri="http://user:proxy-pass-4711@127.0.0.1:9")


def doctor(host: ExaminedHost, program: Callable[[str], str], *options: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"}
    command = [program("codedeploy-agent"), "doctor", "--config-file", str(host.config), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_each_check_has_a_line_in_a_pipe_and_the_last_line_sums_up(
    host: ExaminedHost, program: Callable[[str], str]
) -> None:
    done = doctor(host, program)
    rows = done.stdout.splitlines()
    assert [re.split(r"\s+", row)[1:3] for row in rows if not row.startswith(" ")][:-1] == [
        [str(check.number), check.name] for check in CHECKS
    ]
    assert re.fullmatch(r"\d+ checks: \d+ passed, \d+ warned, \d+ failed, \d+ skipped\.", rows[-1])
    assert "FAIL 11 endpoint" in done.stdout
    assert "proxy-pass-4711" not in done.stdout
    assert "\033" not in done.stdout
    assert (done.returncode, done.stderr) == (2, "")


def test_the_document_says_the_same_to_programs(host: ExaminedHost, program: Callable[[str], str]) -> None:
    done = doctor(host, program, "--json")
    found = json.loads(done.stdout)
    assert found["result"] == "fail"
    assert [row["name"] for row in found["checks"]] == [check.name for check in CHECKS]
    assert sum(found["counts"].values()) == len(CHECKS)
    assert all(row["remedy"] for row in found["checks"] if row["result"] in ("warn", "fail"))
    assert done.returncode == 2


def test_what_is_repaired_is_said_and_examined_again(host: ExaminedHost, program: Callable[[str], str]) -> None:
    host.log.parent.rmdir()
    done = doctor(host, program, "--fix")
    assert f"FIXED log-directory: {host.log.parent} is made, with mode 0755." in done.stdout
    assert re.search(r"PASS 19 log-directory +.* is there", done.stdout)
    assert host.log.parent.is_dir()


def test_a_bundle_is_listed_with_what_was_taken_out(
    host: ExaminedHost, program: Callable[[str], str], tmp_path: Path
) -> None:
    path = tmp_path / "bundle.tar.gz"
    done = doctor(host, program, "--bundle", str(path))
    assert re.search(r" [1-9]\d* removed  configuration/", done.stdout)
    assert "a second search of every file found none" in done.stdout
    assert (done.returncode, path.exists()) == (0, True)
    again = doctor(host, program, "--bundle", str(path))
    assert (again.returncode, str(path) in again.stderr) == (1, True)


@pytest.mark.parametrize(
    "options", [["--bundle", "x", "--json"], ["--bundle", "x", "--fix"], ["--bundle", ""], ["--no"]]
)
def test_a_wrong_command_line_ends_with_64(
    host: ExaminedHost, program: Callable[[str], str], options: list[str]
) -> None:
    assert doctor(host, program, *options).returncode == 64


def examined() -> list[Examined]:
    results = [Result.PASS, Result.WARN, Result.FAIL, Result.SKIP]
    return [Examined(check, Finding(results[check.number % 4], LONG, LONG), 0.0) for check in CHECKS]


@pytest.mark.parametrize("columns", [80, 200])
def test_no_line_is_longer_than_the_terminal(columns: int) -> None:
    rows = list(lines(examined(), [], columns=columns, colours=False))
    assert max(map(len, rows)) <= columns
    joined = " ".join(" ".join(rows).split())
    assert joined.count("One word after the other, until") == 2 * len(CHECKS)
    coloured = list(lines(examined(), [], columns=columns, colours=True))
    assert [re.sub(r"\033\[\d+m", "", row) for row in coloured] == rows
    assert sum("\033[31mFAIL\033[0m" in row for row in coloured) == len(CHECKS) // 4


@pytest.mark.parametrize(("variable", "colours"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_a_terminal_whose_owner_wants_them(
    host: ExaminedHost, program: Callable[[str], str], variable: dict[str, str], colours: bool
) -> None:
    ours, theirs = os.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "100", **variable}
    command = [program("codedeploy-agent"), "doctor", "--config-file", str(host.config)]
    text = b""
    with subprocess.Popen(command, stdout=theirs, env=environment), open(ours, "rb", buffering=0) as terminal:
        os.close(theirs)
        with suppress(OSError):  # which is how a terminal ends whose other end is closed
            while piece := terminal.read(65536):
                text += piece
    assert (b"\033[3" in text) is colours
    rows = [re.sub(rb"\033\[\d+m", b"", row) for row in text.split(b"\r\n")]
    assert max(map(len, rows)) <= 100


def test_a_finding_cannot_steer_the_terminal(host: ExaminedHost) -> None:
    [one] = examine(host.subject, CHECKS[:1])
    evil = one._replace(finding=Finding(Result.FAIL, "name \033]0;x\007", ""))
    assert "\033" not in "".join(lines([evil], [], columns=80, colours=False))
