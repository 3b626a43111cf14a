"""A revision with scripts, a sink that remembers, and ways to be an agent that dies or is not root."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from agent.appspec.model import Script
from agent.errors import ScriptError
from agent.hooks import processes
from agent.hooks.runner import EventContext, HookOptions, run_event
from waiting import until

Wrapper = Callable[[Callable[[], None]], None]

VARIABLES = {
    "APPLICATION_NAME": "App One",
    "DEPLOYMENT_ID": "d-TEST00001",
    "DEPLOYMENT_GROUP_NAME": "Group One",
    "DEPLOYMENT_GROUP_ID": "group-1",
}


@dataclass
class Recorder:
    """An output sink that keeps everything."""

    headers: list[str] = field(default_factory=list)
    pieces: list[tuple[str, bytes]] = field(default_factory=list)

    def header(self, text: str) -> None:
        self.headers.append(text)

    def output(self, stream: str, data: bytes) -> None:
        self.pieces.append((stream, data))

    def written(self, stream: str = "stdout") -> bytes:
        return b"".join(data for name, data in self.pieces if name == stream)

    def lines(self, stream: str = "stdout") -> list[str]:
        return self.written(stream).decode().splitlines()


@dataclass
class Revision:
    """A directory with scripts, and the event that runs them."""

    directory: str
    recorder: Recorder = field(default_factory=Recorder)
    timeouts: ClassVar = (1, 4, 16, 64, 256)
    """Seconds, of which the first that are enough on a machine as busy as this one decide."""

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def script(self, text: str, name: str = "script.sh", *, mode: int = 0o755, first: str = "#!/bin/sh\n") -> str:
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as stream:
            stream.write(first + textwrap.dedent(text))
        os.chmod(path, mode)
        return name

    def read(self, name: str) -> str:
        with open(self.path(name), encoding="utf-8") as stream:
            return stream.read()

    def run(self, *scripts: Script | str, **options: object) -> Recorder:
        """Run an event with these scripts; a text is a script's location."""
        context = EventContext("AfterInstall", self.directory, VARIABLES, cwd="/")
        listed = [Script(script) if isinstance(script, str) else script for script in scripts]
        run_event(listed, context, sinks=[self.recorder], options=HookOptions(**options))
        return self.recorder

    def fail(self, *scripts: Script | str, **options: object) -> ScriptError:
        with pytest.raises(ScriptError) as caught:
            self.run(*scripts, **options)
        return caught.value

    def time_out(self, ready: Callable[[], bool], *, sudo: bool = False, **options: object) -> ScriptError:
        """Run script.sh into its timeout, which grows until the script was ready before it: machines may be busy."""
        for timeout in self.timeouts:
            self.recorder = Recorder()
            error = self.fail(Script("script.sh", sudo=sudo, timeout=timeout), **options)
            if ready():
                return error
            with suppress(FileNotFoundError):
                os.unlink(self.path("pids"))
        raise AssertionError(f"the script was not ready in {timeout} s")


@pytest.fixture
def revision(tmp_path) -> Revision:
    return Revision(str(tmp_path))


@pytest.fixture
def open_revision() -> Iterator[Revision]:
    """A revision that every user may reach; pytest's own directories are closed to others."""
    directory = tempfile.mkdtemp(prefix="hooks-test-")
    os.chmod(directory, 0o777)
    yield Revision(directory)
    shutil.rmtree(directory)


def is_alive(pid: int) -> bool:
    process = processes.look_up(pid)
    return process is not None and process.state not in "ZX"


@pytest.fixture
def waiting() -> Callable[..., None]:
    """Wait until a condition holds: ``waiting(lambda: ..., what="...")``."""
    return until


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Whether a process with this pid runs."""
    return is_alive


AGENT = """
import logging, os, signal, sys
from agent.appspec.model import Script
from agent.hooks.runner import EventContext, HookOptions, run_event
directory = sys.argv[1]
class File:
    def __init__(self):
        self.stream = open(directory + "/agent.out", "ab", buffering=0)
    def header(self, text):
        self.stream.write(text.encode() + b"\\n")
    def output(self, stream, data):
        self.stream.write(data)
def run(location="script.sh", *, timeout=3600, on_started=None, **options):
    context = EventContext("AfterInstall", directory, {"DEPLOYMENT_ID": "d-1"}, "/")
    run_event([Script(location, timeout=timeout)], context, sinks=[File()], options=HookOptions(**options),
              on_started=on_started)
"""


@pytest.fixture
def start_agent() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a process of its own that runs ``run(...)`` over a revision, and that a test may kill."""
    started: list[subprocess.Popen[bytes]] = []

    def start(revision: Revision, text: str, **options: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", AGENT + textwrap.dedent(text), revision.directory]
        started.append(subprocess.Popen(command, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def as_user() -> Callable[..., object]:
    """Call a function in a child process that has become another user; gives its result, by way of JSON.

    ``wrapper`` is handed the change of user and may do something around it.
    """

    def call(name: str, function: Callable[[], object], *, wrapper: Wrapper = lambda change: change()) -> object:
        account = pwd.getpwnam(name)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setgid(account.pw_gid)
                wrapper(lambda: os.setuid(account.pw_uid))
                result = function()
                os.write(writer, json.dumps(result).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, "rb") as stream:
            answer = stream.read()
        os.waitpid(pid, 0)
        return json.loads(answer)

    return call
