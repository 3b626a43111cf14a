"""Runs the scripts of a lifecycle event, one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agent.appspec.model import Script
from agent.errors import NOT_STARTED, ScriptError
from agent.hooks.context import EventContext, HookOptions, RunningScript, Started
from agent.hooks.diagnostics import DiagnosticsTail
from agent.hooks.output import OutputSink, Sinks
from agent.hooks.script_run import ScriptRun

__all__ = ["EventContext", "HookOptions", "OutputSink", "RunningScript", "run_event"]


def run_event(
    scripts: Sequence[Script],
    context: EventContext,
    *,
    sinks: Sequence[OutputSink],
    options: HookOptions,
    on_started: Started | None = None,
) -> None:
    """Run the scripts in order; return when all have succeeded.

    A script is judged by its own exit, and each has its own timeout. Everything written goes to the sinks while the
    scripts run. ``on_started`` is called once for each script. An exception in here, KeyboardInterrupt included, ends
    the running script and everything it has started. Raises ScriptError for the first script that fails, with the end
    of the event's output as its ``log``; the later ones are not started. Where it could not be started, the sinks are
    told why in its place.
    """
    if not scripts:
        return
    tail = DiagnosticsTail()
    logs = Sinks(sinks)
    everywhere = Sinks([logs, tail])
    everywhere.header(f"LifecycleEvent - {context.event}")
    try:
        for script in scripts:
            with _end_marked(script, logs):
                ScriptRun(script, context, everywhere, options, on_started).run()
    except ScriptError as error:
        error.log = tail.text()
        raise


@contextmanager
def _end_marked(script: Script, logs: Sinks) -> Iterator[None]:
    """Write a line about the script's end, in a form that readers of the official logs skip."""
    began, ending = time.monotonic(), "stopped"
    try:
        yield
        ending = "exit code 0"
    except ScriptError as error:
        ending = error.ending
        if not error.started:
            logs.output("stderr", f"{error}\n".encode())
        raise
    finally:
        after = "" if ending == NOT_STARTED else f" after {time.monotonic() - began:.1f} s"
        logs.header(f"End - {script.location}: {ending}{after}")
