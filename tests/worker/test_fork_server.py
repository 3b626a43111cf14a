"""The fork server: each worker begins as a new process would, and nothing is left to import."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent_host import revision, specification
from command_service import command_service
from worker_runs import WorkerHost

# A fork server whose workers write down what they see, and then leave everything changed.
PROBE = """
import json, logging, os, random, signal, sys
from agent import logs
from agent.worker import fork_server

def work(path, handoff):
    descriptors = {number: os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")
                   if os.path.exists(f"/proc/self/fd/{number}")}
    seen = {
        "environment": dict(os.environ), "directory": os.getcwd(), "umask": os.umask(0o022),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "handlers": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "ids": dict(logs._of_process), "log": [str(type(one)) for one in logging.getLogger("agent").handlers],
        "standard": [descriptors.pop(str(number)) for number in range(3)],
        "pipes": sorted(target.split(":")[0] for target in descriptors.values()),
        "leads": os.getsid(0) == os.getpid(), "handoff": handoff.decode(),
        "name": open("/proc/self/cmdline", "rb").read().rstrip(b"\\0").decode().split("\\0")[-2:],
    }
    with open(path, "w") as file:
        json.dump([seen, random.random()], file)
    os.environ["LEFT"] = "by a worker"
    os.chdir("/usr")
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    logs.set_up(None, program_name="test")
    logs.bind(command="of a worker")
    random.seed(1)
    os.open("/", os.O_RDONLY)
    return 7

fork_server.work = work
sys.exit(fork_server.main())
"""

# A fork server that writes down which modules a worker has brought in by its end.
IMPORTED = """
import json, os, sys
from agent.worker import fork_server
real = fork_server.work

def work(path, handoff):
    before = set(sys.modules)
    status = real(path, handoff)
    with open(os.environ["IMPORTED"], "w") as file:
        json.dump(sorted(set(sys.modules) - before), file)
    return status

fork_server.work = work
sys.exit(fork_server.main())
"""


class Server:
    """A fork server and the end of its socket that a supervisor has."""

    def __init__(self, ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self.ours = ours
        self.process = process

    def fork(self, path: str, handoff: bytes) -> dict[str, int]:
        """Have a worker forked, and return what it has reported by its end."""
        given, report = os.pipe(), os.pipe()
        os.write(given[1], handoff)
        os.close(given[1])
        socket.send_fds(self.ours, [os.fsencode(path)], [given[0], report[1]])
        os.close(given[0])
        os.close(report[1])
        with open(report[0], encoding="ascii") as file:
            return {word: int(number) for word, number in map(str.split, file)}


@contextmanager
def server(code: str, **environment: str) -> Iterator[Server]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # The module's name among the arguments is what a worker replaces by its own.
    command = [sys.executable, "-c", code, "60", "agent.worker.fork_server", "60"]
    with theirs:
        process = subprocess.Popen(command, stdin=theirs, env={**os.environ, **environment})
    try:
        yield Server(ours, process)
    finally:
        ours.close()
        assert process.wait() == 0, "the fork server ends with its supervisor"


def test_a_worker_sees_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    seen: list[Any] = []
    with server(PROBE) as running:
        for name in ("first", "second"):
            reported = running.fork(str(tmp_path / name), name.encode())
            assert (sorted(reported), reported["ended"]) == (["ended", "started"], 7)
            seen.append(json.loads((tmp_path / name).read_text()))
    (first, chance), (second, other_chance) = seen
    assert chance != other_chance
    assert (first.pop("handoff"), second.pop("handoff")) == ("first", "second")
    assert first == second
    assert "LEFT" not in first["environment"]
    assert (first["ids"], first["log"], first["blocked"], first["leads"]) == ({}, [], [], True)
    assert first["directory"] == "/"
    assert first["standard"][0] == "/dev/null"
    assert first["pipes"] == ["pipe"], "the report is all that it holds open"
    assert first["name"] == ["60", "agent.worker.process"]


def test_a_hook_has_everything_imported_already(tmp_path: Path) -> None:
    imported = tmp_path / "imported"
    with command_service() as service:
        host = WorkerHost(str(tmp_path / "host"), service)
        place = revision(tmp_path / "revision", {"BeforeInstall": "true"}, to=tmp_path / "out")
        host.work(host.take_on("DownloadBundle", specification(place)))
        command = host.take_on("BeforeInstall", specification(place))
        with server(IMPORTED, IMPORTED=str(imported)) as running:
            assert running.fork(command.path, host.handoff)["ended"] == 0
        assert service.of("PutHostCommandComplete")[-1]["CommandStatus"] == "Succeeded"
    late = json.loads(imported.read_text())
    assert [name for name in late if not name.startswith("encodings.")] == []


def test_the_fork_server_has_no_thread_that_a_worker_would_lose() -> None:
    code = "import os, agent.worker.fork_server\nprint(len(os.listdir('/proc/self/task')))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
