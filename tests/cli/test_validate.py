from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.validate import _excerpt

GOOD = "version: 0.0\nos: linux\n"
RUN = """
import argparse, sys
from agent.cli import validate
parser = argparse.ArgumentParser(prog="codedeploy-agent validate")
validate.add_arguments(parser)
sys.exit(validate.run(parser.parse_args()))
"""


def validate(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, errors="surrogateescape"
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "appspec.yml").write_text(GOOD)
    return tmp_path


def test_a_good_revision_in_the_current_directory_ends_with_0(directory):
    done = validate(cwd=directory)
    assert (done.returncode, done.stdout, done.stderr) == (0, "appspec.yml: valid.\n", "")


def test_warnings_are_printed_and_still_end_with_0(directory):
    (directory / "appspec.yml").write_text(GOOD + "foo: 1\n")
    done = validate(cwd=directory)
    assert done.returncode == 0
    first, summary = done.stdout.splitlines()
    assert first.startswith("appspec.yml:3:1: warning: The key 'foo' is not known")
    assert summary == "appspec.yml: valid, 1 warning."


def test_errors_are_printed_one_in_a_line_and_end_with_1(directory):
    (directory / "appspec.yml").write_text("version: 1\nos: Linux\nfoo: 1\n")
    done = validate(str(directory))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.removeprefix(f"{directory}/appspec.yml").split(" ")[:2] for line in lines[:3]] == [
        [":1:10:", "error:"],
        [":2:5:", "error:"],
        [":3:1:", "warning:"],
    ]
    assert lines[3] == f"{directory}/appspec.yml: not valid, 2 errors and 1 warning."


def test_json_is_one_object_with_everything(directory):
    (directory / "appspec.yml").write_text("version: 1\nos: linux\n")
    done = validate("--json", str(directory))
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert set(document) == {"valid", "file", "problems"}
    assert (document["valid"], document["file"]) == (False, str(directory / "appspec.yml"))
    (problem,) = document["problems"]
    assert set(problem) == {"file", "line", "column", "severity", "message", "remedy"}
    assert (problem["line"], problem["column"], problem["severity"]) == (1, 10, "error")


def test_json_of_a_good_file(directory):
    done = validate("--json", cwd=directory)
    assert json.loads(done.stdout) == {"valid": True, "file": "appspec.yml", "problems": []}


@pytest.mark.parametrize("path", ["nope", "empty", "broken.zip"])
def test_what_cannot_be_read_ends_with_2(tmp_path, path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04")
    done = validate(path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("codedeploy-agent validate: ")
    assert done.stderr.count("\n") == 1
    done = validate(path, "--json", cwd=tmp_path)
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert document["valid"] is False
    assert document["problems"][0]["message"]


def test_a_wrong_option_ends_with_2(directory):
    assert validate("--nope", cwd=directory).returncode == 2
    assert validate("-A", "../x.yml", cwd=directory).returncode == 2


def test_a_file_alone_is_checked_and_said_to_be_alone(directory):
    done = validate("appspec.yml", cwd=directory)
    assert done.returncode == 0
    assert "Only this file" in done.stdout


def test_another_name_is_asked_for_with_an_option(directory):
    (directory / "my.yml").write_text("version: 1\nos: linux\n")
    assert validate("-A", "my.yml", cwd=directory).returncode == 1
    assert validate("--appspec-filename", "my.yml", cwd=directory).returncode == 1


def test_warnings_fail_where_that_is_asked_for_and_notes_never(directory):
    (directory / "appspec.yml").write_text(
        GOOD + "hooks:\n  AfterInstall:\n    - {location: h.sh, runas: no-such-user}\n"
    )
    (directory / "h.sh").write_text("#!/bin/sh\n")
    done = validate("--strict", cwd=directory)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "appspec.yml: valid, 1 note."
    done = validate("--strict", "--host", cwd=directory)
    assert done.returncode == 1
    assert ": warning: There is no user 'no-such-user' on this host." in done.stdout


def test_events_of_ones_own_are_named(directory):
    (directory / "appspec.yml").write_text(GOOD + "hooks:\n  Smoke: []\n  Warm: []\n")
    assert validate(cwd=directory).returncode == 1
    assert validate("--events", "Smoke,Warm", cwd=directory).stdout == "appspec.yml: valid.\n"


def test_several_paths_are_checked_and_the_worst_decides(directory):
    (directory / "good").mkdir()
    (directory / "good/appspec.yml").write_text(GOOD)
    (directory / "bad").mkdir()
    (directory / "bad/appspec.yml").write_text("version: 1\nos: linux\n")
    done = validate("good", "bad", cwd=directory)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "good/appspec.yml: valid."
    assert done.stdout.splitlines()[-1] == "bad/appspec.yml: not valid, 1 error."
    done = validate("good", "nope", "bad", cwd=directory)
    assert done.returncode == 2
    assert "nope" in done.stderr
    assert "bad/appspec.yml: not valid" in done.stdout


def test_the_schema_is_printed_alone(directory):
    done = validate("--schema", "nope", cwd=directory)
    assert done.returncode == 0
    assert json.loads(done.stdout)["properties"]["os"]["const"] == "linux"


def test_a_path_that_is_not_utf8_comes_out_as_it_is(directory):
    odd = os.fsdecode(os.fsencode(directory) + b"/r\xff")
    os.mkdir(odd)
    Path(odd, "appspec.yml").write_text("version: 1\nos: linux\n")
    done = validate(odd)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{odd}/appspec.yml:1:10: error: ")
    assert json.loads(validate("--json", odd).stdout)["file"] == f"{odd}/appspec.yml"


def test_one_problem_is_one_line_whatever_the_names_hold(directory):
    odd = directory / "a\nb\x1b"
    odd.mkdir()
    (odd / "appspec.yml").write_text("version: 1\nos: linux\n")
    done = validate("a\nb\x1b", cwd=directory)
    assert done.stdout.splitlines()[0].startswith("a?b?/appspec.yml:1:10: error: ")


def test_a_terminal_gets_the_source_line_with_a_caret(directory):
    (directory / "appspec.yml").write_text("version: 0.0\nos: Linux\n")
    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=directory, env=environment, stdout=follower, stderr=follower
    )
    os.close(follower)
    output = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:
            break
        if not chunk:
            break
        output += chunk
    os.close(leader)
    assert process.wait() == 1
    lines = output.decode().splitlines()
    assert lines[1:3] == ["    os: Linux", "        ^"]


@pytest.mark.parametrize(
    ("before", "cells"), [("é", 1), ("e\u0301", 1), ("日本", 4), ("💥", 2), ("\t", 1), ("ｶ", 1), ("\uff21", 2)]
)
def test_the_caret_stands_below_its_place_whatever_comes_before(before, cells):
    assert _excerpt(f"{before}x", len(before) + 1)[1] == f"    {' ' * cells}^"


def test_the_caret_of_a_whole_entry_stands_below_its_first_word():
    assert _excerpt("  - source: a", 1) == ("      - source: a", "      ^")


def test_a_long_source_line_is_cut_around_its_place():
    line, caret = _excerpt("x" * 5000 + "y" + "z" * 5000, 5001)
    assert len(line) <= 104
    assert line[caret.index("^")] == "y"


def test_control_characters_of_the_source_do_not_reach_the_terminal():
    assert _excerpt("a\tb\x85c", 1)[0] == "    a b c"
