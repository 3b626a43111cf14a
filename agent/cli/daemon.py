"""``codedeploy-agent start``, ``stop`` and ``restart``: the daemon from the command line."""

from __future__ import annotations

import argparse
import os
import select
import signal
import time
from collections.abc import Sequence

from agent.cli.output import Writer, printable
from agent.errors import AgentError

STOP_LIMIT = 10.0
"""Seconds in which an agent that was told to stop has to be gone; it stops within half of that."""

UNIT = "codedeploy-agent.service"


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Declare the options of one of the three commands."""
    parser.add_argument("--config-file", metavar="PATH", help="the agent's configuration file")
    parser.add_argument("--config_file", dest="config_file", help=argparse.SUPPRESS)
    if command in ("stop", "restart"):
        parser.add_argument(
            "--force", action="store_true", help="also while a deployment is in progress, which goes on"
        )


def start(options: argparse.Namespace) -> int:
    """Run the agent until it is stopped; 1 if another one is running."""
    from agent.daemon.supervisor import run  # each command imports only what it needs, here and below

    return int(run(options.config_file))


def stop(options: argparse.Namespace) -> int:
    """Stop the agent; 0 if it is not running (any more), 1 if a deployment is in progress or it does not end."""
    return _stop(options, "stop")


def restart(options: argparse.Namespace) -> int:
    """Stop the agent and run it again, here and until it is stopped; 1 where ``stop`` would give 1."""
    status = _stop(options, "restart")
    return status if status or options.restarted_by_systemd else start(options)


def _stop(options: argparse.Namespace, verb: str) -> int:
    from agent.config.file import load_usable
    from agent.daemon.pidfile import running_pid
    from agent.runtime.own_directories import check_own_directories

    options.restarted_by_systemd = False
    settings, wrong = load_usable(options.config_file)
    check_own_directories(settings, ("pid_dir",))  # who may write there chooses the process that ends
    pid = running_pid(settings.pid_dir)
    if wrong is not None and pid is None:
        raise wrong
    out = Writer(1)
    if pid is None:
        out.line("The AWS CodeDeploy agent is not running; there is nothing to stop.")
        return 0
    if not options.force:
        _refuse_during_deployment(settings.root_dir, settings.ongoing_deployment_tracking, verb)
    if is_unit(pid):
        options.restarted_by_systemd = verb == "restart"
        out.line(f"The agent is run by systemd: systemctl {verb} {UNIT}")
        return ask_systemd(verb)
    out.line(f"Stopping the AWS CodeDeploy agent, PID {pid}.")
    end_process(pid, settings.pid_dir)
    return 0


def _refuse_during_deployment(root_dir: str, tracking_name: str, verb: str) -> None:
    from agent.cli.status_text import progress_line
    from agent.daemon.status import commands_in_progress
    from agent.store.layout import Layout

    running = commands_in_progress(Layout(root_dir, tracking_name=tracking_name))
    if running:
        what = "; ".join(printable(progress_line(found, time.time())) for found in running)
        raise AgentError(
            f"A deployment is in progress, so the agent is left running: {what}.",
            remedy=(
                f"Wait for its end, or use codedeploy-agent {verb} --force: then the agent ends, and the lifecycle"
                " event goes on to its own end and is reported."
            ),
        )


def end_process(pid: int, pid_dir: str, *, limit: float = STOP_LIMIT) -> None:
    """Tell the agent to stop and wait until it is gone. Raises AgentError where it may not, or stays."""
    from agent.daemon.pidfile import running_pid

    try:
        # Between reading a pid and using it the process may end and another get its number; a pidfd stays with one.
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if running_pid(pid_dir) != pid:
            return
        signal.pidfd_send_signal(process, signal.SIGTERM)
        if not select.select([process], [], [], limit)[0]:
            raise AgentError(
                f"The agent, PID {pid}, was told to stop and is still there after {limit:g} s.",
                remedy="Its log says what it waits for; kill -9 ends it, and loses no deployment.",
            )
    except PermissionError as error:
        raise AgentError(
            f"The agent, PID {pid}, belongs to another user.", remedy="Stop it as that user or as root."
        ) from error
    finally:
        os.close(process)


def is_unit(pid: int, *, proc: str = "/proc") -> bool:
    """Whether systemd runs this process as the agent's unit, and so would start it again."""
    try:
        with open(f"{proc}/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            return any(line.rstrip("\n").endswith(f"/{UNIT}") for line in file)
    except OSError:
        return False


def ask_systemd(verb: str, *, command: Sequence[str] = ("systemctl",)) -> int:
    """Have systemd stop or restart the agent's unit; gives the exit status of systemctl. Raises AgentError."""
    import subprocess

    try:
        return subprocess.run([*command, verb, UNIT], check=False, stdin=subprocess.DEVNULL).returncode
    except OSError as error:
        raise AgentError(
            f"{command[0]} cannot be run: {error.strerror}.", remedy=f"Run it yourself: {verb} {UNIT}."
        ) from (error)
