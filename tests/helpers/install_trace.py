"""Run an Install or a recovery in a child of its own, watched or disturbed by strace at chosen system calls."""

from __future__ import annotations

import codecs
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from waiting import Guard

# Everything by which a process changes files, or makes a change last. A name that this machine does not know is passed
# over ("?"), because processors differ in the older ones.
CHANGING = re.findall(
    r"\w+",
    "open openat openat2 creat write pwrite64 writev pwritev copy_file_range sendfile truncate ftruncate fallocate"
    " rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat mkdir mkdirat mknod mknodat rmdir"
    " chmod fchmod fchmodat fchmodat2 chown fchown fchownat lchown utime utimes futimesat utimensat"
    " setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr fsync fdatasync sync syncfs sync_file_range",
)

# What an undisturbed run may not need but an undoing does; the names are those of every processor.
_ALWAYS_KNOWN = ("renameat2", "unlinkat", "fchmod", "fchown", "ftruncate", "fsetxattr", "fremovexattr")

_LINE = re.compile(rb"(\w+)\((.*)\)\s+= (-?\d+|\?)(.*)", re.DOTALL)
_TEXT = re.compile(rb'"((?:[^"\\]|\\.)*)"|<((?:[^<>\\]|\\.)*)>')


@dataclass(frozen=True, slots=True)
class Call:
    """One system call.

    ``texts`` are the paths and data that it names, in order; descriptors stand with their path. ``changed`` are the
    paths whose object or name it changes or makes last, where that can be told.
    """

    number: int
    name: str
    arguments: str
    texts: tuple[str, ...]
    changed: tuple[str, ...]
    succeeded: bool
    injected: bool

    @property
    def changes(self) -> bool:
        """Whether the call can change something; opening for reading cannot."""
        return not self.name.startswith("open") or re.search(r"O_(CREAT|TRUNC|TMPFILE)", self.arguments) is not None

    def __str__(self) -> str:
        return f"{self.number}: {self.name}({self.arguments[:200]})"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended: ``killed``, or ``ok`` or not with the ``text`` of its error; ``calls`` if it was watched."""

    killed: bool
    ok: bool
    text: str
    crashed: bool = False
    calls: list[Call] = field(default_factory=list, repr=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at the ``number``-th call of one name; ``onwards`` makes it happen at all later ones too."""

    what: str
    name: str
    number: int
    onwards: bool = False

    @property
    def option(self) -> str:
        return f"inject={self.name}:{self.what}:when={self.number}{'+' if self.onwards else ''}"


KILL = "signal=KILL"


def fault_at(calls: Sequence[Call], call: Call, what: str) -> list[Fault]:
    """Let something happen when a call of an undisturbed run comes again; strace counts for each name."""
    return [Fault(what, call.name, _count(calls, call.name, call.number))]


def faults_from(calls: Sequence[Call], call: Call, what: str) -> list[Fault]:
    """Let something happen at a call and at every later one, also where something is only opened to be read."""
    names = sorted({other.name for other in calls} | set(_ALWAYS_KNOWN))
    return [Fault(what, name, _count(calls, name, call.number - 1) + 1, onwards=True) for name in names]


def _count(calls: Sequence[Call], name: str, last: int) -> int:
    return sum(other.name == name and other.number <= last for other in calls)


class Server:
    """The forking process (see ``install_server``); to be closed."""

    def __init__(self, log_directory: str) -> None:
        ours, theirs = socket.socketpair()
        program = os.path.join(os.path.dirname(__file__), "install_server.py")
        self._process = subprocess.Popen(
            [sys.executable, program, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        theirs.close()
        self._control = ours
        self._log = os.path.join(log_directory, "strace.log")

    def close(self) -> None:
        self._control.close()
        self._process.wait()

    def run(
        self,
        action: str,
        *,
        scene: str,
        top: str,
        version: str = "2",
        faults: Sequence[Fault] = (),
        watched: bool = False,
        other_file_system: str = "",
    ) -> Ending:
        """Do ``install`` or ``recover`` in a new process, disturbed by the faults."""
        ours, theirs = socket.socketpair()
        order = {
            "action": action,
            "scene": scene,
            "top": top,
            "version": version,
            "other_file_system": other_file_system,
        }
        with ours:
            socket.send_fds(self._control, [json.dumps(order).encode()], [theirs.fileno()])
            theirs.close()
            child = int(_answer(ours) or 0)
            assert child, "the child died before it was let go"
            tracer = self._attach(child, faults) if faults or watched else None
            answer = self._let_go(ours, child)
        status = int(self._control.recv(64))
        calls = []
        if tracer is not None:
            tracer.communicate()
            with open(self._log, "rb") as log:
                calls = parse(log.read())
        if status != 0:
            assert status == -signal.SIGKILL, f"the child ended with {status}"
            return Ending(killed=True, ok=False, text="", calls=calls)
        return Ending(killed=False, calls=calls, **json.loads(answer))

    def _let_go(self, channel: socket.socket, child: int) -> bytes:
        channel.send(b"!")
        channel.settimeout(1)
        guard = Guard()
        while True:
            try:
                return _answer(channel)
            except TimeoutError:
                if guard.has_hung:
                    os.kill(child, signal.SIGKILL)
                    raise

    def _attach(self, child: int, faults: Sequence[Fault]) -> subprocess.Popen[bytes]:
        command = ["strace", "-p", str(child), "-o", self._log, "-y", "-s", "4096", "-e", f"trace={known(CHANGING)}"]
        for fault in faults:
            command += ["-e", fault.option]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        assert b"attached" in line, (line, tracer.stderr.read() if tracer.poll() is not None else b"")
        return tracer


def _answer(channel: socket.socket) -> bytes:
    try:
        return channel.recv(1 << 20)
    except ConnectionResetError:  # a killed child leaves what it has not read
        return b""


def known(names: Sequence[str]) -> str:
    """The value of strace's option for these calls, some of which this processor may not have."""
    return ",".join(f"?{name}" for name in names)


def parse(log: bytes) -> list[Call]:
    """The calls of a log that strace has written, in their order."""
    calls: list[Call] = []
    opened: dict[str, str] = {}
    for line in log.split(b"\n"):
        found = _LINE.match(line)
        if found is None:
            continue
        name, arguments, result, rest = found.groups()
        texts = tuple(_decoded(one or two) for one, two in _TEXT.findall(arguments))
        if name.startswith(b"open"):
            opened[f"/proc/self/fd/{result.decode()}"] = _decoded(rest.strip()[1:-1])
        calls.append(
            Call(
                number=len(calls) + 1,
                name=name.decode(),
                arguments=arguments.decode("ascii", "replace"),
                texts=texts,
                changed=_changed(name.decode(), [opened.get(text, text) for text in texts]),
                succeeded=result != b"?" and int(result) >= 0,
                injected=b"(INJECTED)" in rest,
            )
        )
    return calls


def _changed(name: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Which of the texts are paths that the call changes: absolute, names in open directories joined to them."""
    if name.startswith("rename"):
        paths = _joined(texts)
        return paths[-2:] if len(paths) < 4 else (paths[1], paths[3])
    if name.startswith(("link", "symlink", "open", "mkdir", "unlink")):
        return _joined(texts)[-1:]
    if name in ("copy_file_range", "sendfile"):
        return tuple(texts[:1] if name == "sendfile" else texts[1:2])
    if name.startswith(("fchmodat", "fchownat", "utimensat")) and texts[1:]:
        return _joined(texts[:2])[-1:]
    return tuple(texts[:1])


def _joined(texts: Sequence[str]) -> tuple[str, ...]:
    paths: list[str] = []
    for text in texts:
        paths.append(os.path.join(paths[-1], text) if paths else text)
    return tuple(paths)


def _decoded(text: bytes) -> str:
    return os.fsdecode(codecs.escape_decode(text)[0])


def changing(calls: Sequence[Call]) -> list[Call]:
    """The calls that change something, or make a change last."""
    return [call for call in calls if call.changes]
