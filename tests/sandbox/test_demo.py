"""The demo, as a new user runs it and as the README pictures it."""

from __future__ import annotations

import contextlib
import html
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from guards import require
from sandbox_server import ROOT

DEMO = ROOT / "appspec-examples/demo"
PICTURE = ROOT / "docs/demo.svg"
OF_ONE_RUN = re.compile(r"d-[0-9A-Z]+|/\S*/version-3")


@pytest.fixture
def output(tmp_path: Path) -> str:
    require("aws")
    command = [str(DEMO), os.path.dirname(sys.executable)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_shows_two_versions_and_one_that_is_rolled_back_as_in_its_picture(output: str, tmp_path: Path) -> None:
    headings = [line for line in output.splitlines() if line.startswith("== ")]
    assert len(headings) == 7
    assert "to the byte" in headings[-1]
    assert output.count("\n   Succeeded\n") == 3
    assert "index.html links to style.css, which is not in the site" in output
    assert list(tmp_path.iterdir()) == []
    shown = html.unescape(" ".join(re.findall(r"<text[^>]*>([^<]*)</text>", PICTURE.read_text())))
    assert words(shown) - words(output) <= {"make", "demo"}, "the picture is of another demo: run make picture"


@pytest.mark.long  # the demo once more
@pytest.mark.needs("aws")
def test_an_interrupted_demo_leaves_neither_a_process_nor_a_file(tmp_path: Path) -> None:
    command = [str(DEMO), os.path.dirname(sys.executable)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as demo:
        assert demo.stdout is not None
        next(line for line in demo.stdout if "ApplicationStop" in line)  # so a worker is at work
        os.killpg(demo.pid, signal.SIGINT)
        _, errors = demo.communicate()
    assert demo.returncode == 130
    assert errors.endswith("Interrupted: what the demo had started and written is removed.\n")
    assert list(tmp_path.iterdir()) == []
    alive = [process for process in psutil.process_iter() if str(tmp_path) in " ".join(command_line(process))]
    assert alive == []


def command_line(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def words(text: str) -> set[str]:
    return set(OF_ONE_RUN.sub("…", text).split())
