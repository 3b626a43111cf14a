"""How a local deployment is told: on a terminal for a person, elsewhere as plain lines for a program."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from agent.cli.output import Writer, printable
from agent.deployment.spec import DeploymentSpecification
from agent.errors import AgentError, DiagnosticCode
from agent.local.deploy import EventResult, LocalObserver
from agent.store.layout import Layout

BAR_AFTER = 1.0
"""Seconds after which a step that is still going on gets a progress bar."""

_BAR_EVERY = 0.1
_BAR_WIDTH = 24
_SCRIPT_CODES = (
    DiagnosticCode.SCRIPT_MISSING,
    DiagnosticCode.SCRIPT_NOT_EXECUTABLE,
    DiagnosticCode.SCRIPT_TIMED_OUT,
    DiagnosticCode.SCRIPT_FAILED,
    DiagnosticCode.OUTPUTS_LEFT_OPEN,
)


class PlainReport(LocalObserver):
    """Plain lines: on ``out`` exactly those that programs know from the official command, all others on ``err``.

    ``event`` is the lifecycle event in progress, or empty.
    """

    def __init__(self, out: Writer, err: Writer) -> None:
        self._out = out
        self._err = err
        self.event = ""

    def began(self, spec: DeploymentSpecification, layout: Layout) -> None:
        """The deployment starts."""
        directory = layout.deployment(spec.deployment_group_id, spec.deployment_id)
        self._out.line(f"Starting to execute deployment from within folder {directory}")

    def ended(self, spec: DeploymentSpecification, layout: Layout, results: Sequence[EventResult]) -> None:
        """The deployment is over, well or not."""
        directory = layout.deployment(spec.deployment_group_id, spec.deployment_id)
        last = results[-1].outcome
        script_failed = last.error_code in _SCRIPT_CODES
        if script_failed:
            script = f"{layout.archive(directory)}/{last.script_name}"
            self._out.line(f"Your local deployment failed while trying to execute your script at {script}")
        self._out.line(f"See the deployment log at {layout.script_log(directory)} for more details")
        if last.succeeded:
            self._out.line("AppSpec file valid. Local deployment successful")
        else:
            # For a failed script the official command says no more on its standard output than the two lines above.
            (self._err if script_failed else self._out).line(f"ERROR: {printable(last.message)}")

    def end_line(self) -> None:
        """What is being shown on the current line is over; a whole line may follow."""

    def refused(self, error: AgentError) -> None:
        """The deployment cannot start, or was stopped."""
        self._out.line(f"ERROR: {printable(str(error))}")

    def notice(self, text: str) -> None:
        self._err.line(f"note: {printable(text)}")

    def event_started(self, name: str) -> None:
        self.event = name

    def event_ended(self, result: EventResult) -> None:
        self.event = ""
        self._err.line(f"{result.name}: {_verdict(result)}")

    def header(self, text: str) -> None:
        if text.startswith("Script - "):
            self._err.line(f"{self.event}: {text.removeprefix('Script - ')}")

    def output(self, stream: str, data: bytes) -> None:
        end = b"" if data.endswith(b"\n") else b"\n"
        self._err.data(b"%b: [%b]%b%b" % (self.event.encode(), stream.encode(), data, end))


class TerminalReport(PlainReport):
    """For a person at a terminal: a line for each event, what its scripts print, and a bar where it takes long."""

    def __init__(self, out: Writer, *, colour: bool) -> None:
        super().__init__(out, out)
        self._colour = colour
        self._started = 0.0
        self._bar_time = 0.0
        self._bar_shown = False
        self._line_open = False

    def ended(self, spec: DeploymentSpecification, layout: Layout, results: Sequence[EventResult]) -> None:
        self.end_line()
        super().ended(spec, layout, results)
        scripts = sum(len(result.scripts) for result in results)
        seconds = sum(result.seconds for result in results)
        verdict = "succeeded" if results[-1].outcome.succeeded else f"failed at {results[-1].name}"
        counts = f"{_count(len(results), 'event')}, {_count(scripts, 'script')}, {seconds:.2f} s"
        colour = "32" if results[-1].outcome.succeeded else "31"
        self._out.line(self._paint(f"{spec.deployment_id} {verdict}: {counts}", colour))

    def refused(self, error: AgentError) -> None:
        self.end_line()
        super().refused(error)

    def notice(self, text: str) -> None:
        self.end_line()
        super().notice(text)

    def event_started(self, name: str) -> None:
        super().event_started(name)
        self._started = time.monotonic()
        self._bar_time = self._started + BAR_AFTER - _BAR_EVERY

    def event_ended(self, result: EventResult) -> None:
        self.end_line()
        self.event = ""
        mark = self._paint("ok    ", "32") if result.outcome.succeeded else self._paint("FAILED", "31")
        self._out.line(f"  {mark} {result.name:<20}{_verdict(result)}")

    def header(self, text: str) -> None:
        if text.startswith("Script - "):
            self.end_line()
            self._out.line(self._paint(f"  {self.event}: {text.removeprefix('Script - ')}", "1"))

    def output(self, stream: str, data: bytes) -> None:
        self._clear_bar()
        self._out.data(data if self._line_open else b"    | " + data)
        self._line_open = not data.endswith(b"\n")

    def progress(self, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        if now < self._bar_time + _BAR_EVERY or total <= 0:
            return
        self._bar_time = now
        self._bar_shown = True
        share = min(done / total, 1.0)
        filled = round(share * _BAR_WIDTH)
        amount = f"{_size(done)} of {_size(total)}" if unit == "bytes" else f"{done:,} of {total:,} {unit}"
        text = f"  {self.event} [{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {share:4.0%} {amount}"
        self._out.data(b"\r\x1b[K" + text[: _columns() - 1].encode())

    def end_line(self) -> None:
        self._clear_bar()
        if self._line_open:
            self._line_open = False
            self._out.data(b"\n")

    def _clear_bar(self) -> None:
        if self._bar_shown:
            self._bar_shown = False
            self._out.data(b"\r\x1b[K")

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def _verdict(result: EventResult) -> str:
    if not result.outcome.succeeded:
        return f"failed after {result.seconds:.2f} s"
    if not result.scripts and result.name not in ("DownloadBundle", "Install"):
        return "no scripts"
    scripts = f", {_count(len(result.scripts), 'script')}" if result.scripts else ""
    return f"{result.seconds:.2f} s{scripts}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def _columns() -> int:
    try:
        return os.get_terminal_size().columns or 80
    except OSError:
        return 80
