import os
import time

import pytest

from agent.cli.output import Writer
from agent.cli.reports import BAR_AFTER, TerminalReport
from agent.deployment.outcome import success
from agent.local.deploy import EventResult


class Screen:
    """A report, and what it has written."""

    def __init__(self):
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        self.report = TerminalReport(Writer(writer), colour=False)

    def text(self):
        try:
            return os.read(self._reader, 1 << 20).decode()
        except BlockingIOError:
            return ""


@pytest.fixture
def screen():
    return Screen()


def test_a_step_that_is_done_at_once_shows_no_bar(screen):
    screen.report.event_started("Install")
    for done in range(1000):
        screen.report.progress(done, 1000, "files")
    screen.report.event_ended(EventResult("Install", success(), 0.1))
    assert screen.text() == "  ok     Install             0.10 s\n"


def test_a_step_that_takes_long_shows_how_far_it_is_and_wipes_that_at_the_end(screen):
    screen.report.event_started("DownloadBundle")
    time.sleep(BAR_AFTER + 0.01)
    screen.report.progress(512 * 1024**2, 2 * 1024**3, "bytes")
    text = screen.text()
    assert text.startswith("\r\x1b[K  DownloadBundle [######....")
    assert " 25% 512 MiB of 2.0 GiB" in text
    screen.report.progress(513 * 1024**2, 2 * 1024**3, "bytes")
    assert screen.text() == ""
    screen.report.event_ended(EventResult("DownloadBundle", success(), 1.1))
    assert screen.text().startswith("\r\x1b[K  ok     DownloadBundle")


def test_a_bar_counts_files_too_and_makes_way_for_a_notice(screen):
    screen.report.event_started("Install")
    time.sleep(BAR_AFTER + 0.01)
    screen.report.progress(12_000, 10_000, "files")
    assert "100% 12,000 of 10,000 files" in screen.text()
    screen.report.notice("look here")
    assert screen.text() == "\r\x1b[Knote: look here\n"


def test_a_total_that_is_not_known_is_no_division_by_zero(screen):
    screen.report.event_started("Install")
    time.sleep(BAR_AFTER + 0.01)
    screen.report.progress(0, 0, "files")
    assert screen.text() == ""


def test_a_line_that_comes_in_pieces_is_shown_as_one_and_ended_before_the_next_entry(screen):
    screen.report.event_started("AfterInstall")
    screen.report.output("stdout", b"one ")
    screen.report.output("stdout", b"line\n")
    screen.report.output("stdout", b"open")
    screen.report.header("Script - b.sh")
    assert screen.text() == "    | one line\n    | open\n  AfterInstall: b.sh\n"
