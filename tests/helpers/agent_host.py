"""A host in a temporary directory with a real agent process on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from agent.config.settings import Settings
from agent.filesystem.locks import FileLock
from agent.runtime.host import layout_of
from command_service import HOST, CommandService
from waiting import until

AGENT = os.path.join(os.path.dirname(sys.executable), "codedeploy-agent")


class AgentHost:
    """The directories of one agent, its configuration, and the process; ``settings`` are lines of the configuration."""

    def __init__(self, directory: Path, endpoint: str, **settings: object) -> None:
        self.directory = directory
        self.root = directory / "root"
        self.state = self.root / "agent-state"
        self.log = directory / "log" / "codedeploy-agent.log"
        self.config = directory / "codedeployagent.yml"
        self.process: subprocess.Popen[bytes] | None = None
        self.before: list[str] = []
        """Words before the agent's command, such as those of a tracer."""
        self.environment = {"AGENT_HOST_DIRECTORY": str(directory)}
        directory.mkdir(parents=True, exist_ok=True)
        self.on_premises = directory / "onpremises.yml"
        self.write_on_premises("AKIAEXAMPLE", "secret")
        values: dict[str, object] = {
            "root_dir": self.root,
            "log_dir": self.log.parent,
            "pid_dir": directory / "pid",
            "on_premises_config_file": self.on_premises,
            "deploy_control_endpoint": endpoint,
            "wait_between_runs": 0.2,
            **settings,
        }
        self.settings = values
        self.write_config()

    def write_config(self, **changes: object) -> None:
        """Write the configuration file, with some settings changed."""
        self.settings |= changes
        self.config.write_text("".join(f":{key}: {value}\n" for key, value in self.settings.items()))

    def write_on_premises(self, key: str, secret: str) -> None:
        """Write the on-premises file of an IAM user."""
        lines = [f"iam_user_arn: {HOST}", "region: eu-central-1", f"aws_access_key_id: {key}"]
        self.on_premises.write_text("\n".join([*lines, f"aws_secret_access_key: {secret}", ""]))
        self.on_premises.chmod(0o600)

    def start(self) -> None:
        """Start the agent in the foreground of a process of its own."""
        keep = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_PROCESS_START")
        environment = {name: value for name, value in os.environ.items() if name in keep} | self.environment
        self.process = subprocess.Popen(
            [*self.before, AGENT, "start", "--config-file", str(self.config)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=open(self.directory / "stdout", "ab"),  # noqa: SIM115 - closed with this process
            stderr=subprocess.STDOUT,
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal the supervisor and wait for its end; gives its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait()

    def workers(self) -> list[psutil.Process]:
        """The workers of this host that hold their command, whoever started them."""
        pids = [FileLock.holder(str(lock)) for lock in self.state.glob("commands/*/lock")]
        return [psutil.Process(pid) for pid in pids if pid]

    def fork_servers(self) -> list[psutil.Process]:
        """The fork servers of this host."""
        return [process for process in self.mine() if "agent.worker.fork_server" in _words(process)]

    def commands(self) -> list[Path]:
        """The directories of the commands that are in hand."""
        return list(self.state.glob("commands/[!.]*"))

    def mine(self) -> list[psutil.Process]:
        """Every process that this host's agent or its scripts have left, by their environment or command line."""
        return [process for process in psutil.process_iter() if _belongs(process, str(self.directory))]

    def kill_everything(self) -> None:
        """Power off: nothing of the agent and its scripts survives."""
        for _ in range(20):
            left = self.mine()
            if not left:
                break
            for process in left:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            # What has lost its parent stays a zombie until the machine's first process looks after it: seconds in some.
            until(lambda left=left: not any(map(_runs, left)), "the processes of the host to end")
        if self.process is not None:
            self.process.wait()

    def log_text(self) -> str:
        """What the agent has logged."""
        return self.log.read_text() if self.log.exists() else ""

    def until(self, met: Callable[[], Any], what: str) -> Any:
        """Wait until something is so; the agent's log is in the error otherwise."""
        return until(met, lambda: f"{what}; the agent's log:\n{self.log_text()}")

    def __enter__(self) -> AgentHost:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_everything()
        shutil.rmtree(layout_of(Settings(root_dir=str(self.root))).kept, ignore_errors=True)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _belongs(process: psutil.Process, directory: str) -> bool:
    try:
        if process.pid == os.getpid() or not _runs(process):
            return False
        words = _words(process)
        if "pytest" in " ".join(words):
            return False
        return any(directory in word for word in words) or directory in process.environ().get(
            "AGENT_HOST_DIRECTORY", ""
        )
    except psutil.Error:
        return False


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def revision(directory: Path, hooks: Mapping[str, str], *, files: Mapping[str, str] | None = None, to: Path) -> Path:
    """Make a revision whose hooks are shell scripts; its files go below ``to``."""
    (directory / "scripts").mkdir(parents=True)
    lines = ["version: 0.0", "os: linux", "files:", "  - source: /app", f"    destination: {to}"]
    lines += ["file_exists_behavior: OVERWRITE"]
    lines += ["hooks:"] if hooks else []
    for event, script in hooks.items():
        path = directory / "scripts" / f"{event}.sh"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        lines += [f"  {event}:", f"    - location: scripts/{event}.sh"]
    (directory / "app").mkdir()
    for name, text in (files or {"index.html": "hello"}).items():
        (directory / "app" / name).write_text(text)
    (directory / "appspec.yml").write_text("\n".join(lines) + "\n")
    return directory


def specification(
    revision_directory: Path, *, deployment: str = "d-1", group: str = "group-1", **more: Any
) -> dict[str, Any]:
    """A deployment specification of a revision that lies on this host."""
    return {
        "DeploymentId": deployment,
        "DeploymentGroupId": group,
        "DeploymentGroupName": "Group",
        "ApplicationName": "App",
        "Revision": {
            "RevisionType": "Local Directory",
            "LocalRevision": {"Location": str(revision_directory), "BundleType": "directory"},
        },
        **more,
    }


def deploy(service: CommandService, specification: dict[str, Any], events: list[str]) -> dict[str, dict[str, Any]]:
    """Have the events of a deployment done one after the other, as the service does; stops at the first failure."""
    ended = {}
    for event in events:
        ended[event] = service.completion(service.add(event, specification))
        if ended[event]["status"] != "Succeeded":
            break
    return ended
