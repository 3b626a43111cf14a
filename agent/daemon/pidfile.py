"""Which process is the agent: a pid file for people and programs, and a lock beside it that is the truth.

The names are those of the official agents, and 1.8.1 takes the same lock, so that the two never run at once.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import suppress
from types import TracebackType

from agent.errors import AgentError
from agent.filesystem.durable import replace
from agent.filesystem.locks import FileLock, LockTimeoutError, lock_holders
from agent.filesystem.regular import open_regular, read_regular
from agent.store.directories import make_state_directory
from agent.store.layout import Layout

NAME = "codedeploy-agent.pid"

TIMEOUT = 1.0
"""Seconds for which a test by somebody else may hold the lock, or a starting agent may need to write its pid."""

_PAUSE = 0.02

_REMEDY = (
    "Run the agent as root, or with --config-file as a user who may write to the file's pid_dir, root_dir and log_dir."
)

_log = logging.getLogger(__name__)


class AlreadyRunningError(AgentError):
    """Another agent runs on this host with the same directory for its pid file, or with the same root directory."""


class PidFileError(AgentError):
    """It cannot be told whether an agent runs."""


class PidFile:
    """The running agent's claim: a lock held until ``release`` or the end of the process, and a file with its pid.

    The lock is never inherited by a program that is started, and its file is never removed. The pid file alone
    proves nothing: after a crash it names a process that is gone, or some other one that got its number.
    """

    def __init__(self, pid_dir: str) -> None:
        self.path = os.path.join(pid_dir, NAME)
        self._descriptor = -1

    def acquire(self) -> None:
        """Claim to be the agent of this host.

        Raises AlreadyRunningError, or PidFileError where the files cannot be written.
        """
        directory, lock = os.path.dirname(self.path), lock_path(self.path)
        try:
            os.makedirs(directory, mode=0o755, exist_ok=True)
        except OSError as error:
            reason = f"The directory {directory} for the pid file cannot be made: {error.strerror} at {error.filename}."
            raise PidFileError(reason, remedy=_REMEDY) from error
        try:
            descriptor = open_regular(lock, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            reason = f"The lock file {lock} cannot be opened: {error.strerror}."
            raise PidFileError(reason, remedy=_REMEDY) from error
        try:
            self._claim(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Remove the pid file and let go of the lock; nothing happens if it is not held."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with suppress(OSError):  # a file that stays proves nothing without the lock
                os.unlink(self.path)
            os.close(descriptor)

    def __enter__(self) -> PidFile:
        """Hold the claim for the length of a block."""
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _claim(self, descriptor: int) -> None:
        end = time.monotonic() + TIMEOUT
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            # ``status`` holds the lock for a moment when it looks whether it is free.
            if time.monotonic() >= end:
                pid = _read(self.path) or "unknown"
                raise AlreadyRunningError(
                    f"Another agent is running as PID {pid}: it holds {lock_path(self.path)}.",
                    remedy="codedeploy-agent status tells more; codedeploy-agent stop stops it.",
                )
            time.sleep(_PAUSE)
        self._refuse_agent_without_lock()
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, 0o600)  # whoever may open it may lock it, and keep the agent from starting
        try:
            replace(self.path, b"%d\n" % os.getpid(), mode=0o644)
        except OSError as error:
            reason = f"The pid file {self.path} cannot be written: {error.strerror}."
            raise PidFileError(reason, remedy=_REMEDY) from error

    def _refuse_agent_without_lock(self) -> None:
        # The official 2.x keeps a pid file and no lock. Two agents would both run the scripts of one deployment.
        pid = _read(self.path)
        if pid is None or pid == os.getpid():
            return
        words = _command_line(pid)
        if any(os.path.basename(word) == b"codedeploy-agent" for word in words[:2]) and b"start" in words:
            raise AlreadyRunningError(
                f"Process {pid} looks like another CodeDeploy agent: {b' '.join(words[:3]).decode(errors='replace')}.",
                remedy=f"Stop it first. If it is not an agent, remove {self.path}.",
            )


def claim_root_directory(layout: Layout) -> FileLock:
    """Return a lock that keeps an agent with another ``pid_dir`` from the same root directory.

    A root directory that does not take the lock is logged, and the agent goes on. Raises AlreadyRunningError.
    """
    lock = FileLock(os.path.join(layout.locks, "agent.lock"), purpose="the only agent of a root directory")
    try:
        make_state_directory(layout, layout.locks)
        lock.acquire(limit=TIMEOUT)
    except LockTimeoutError as error:
        pid = FileLock.holder(lock.path) or "unknown"
        raise AlreadyRunningError(
            f"Another agent is running as PID {pid} with the same root_dir, {layout.root_dir}, and another pid_dir: it"
            f" holds {lock.path}.",
            remedy="Stop that agent, or name a root_dir in this one's configuration that no other agent uses.",
        ) from error
    except (OSError, AgentError) as error:
        _log.warning("%s cannot be locked, so that a second agent on it would not be refused: %s", lock.path, error)
    return lock


def lock_path(path: str) -> str:
    """The lock that belongs to a pid file."""
    return f"{path}.lock"


def running_pid(pid_dir: str) -> int | None:
    """The pid of the agent that is running, None where none is.

    The lock decides; the pid file is believed only while the lock is held, and only if the kernel does not name
    another process as its holder. Raises PidFileError where it cannot be told, as for another user.
    """
    path = os.path.join(pid_dir, NAME)
    end = time.monotonic() + TIMEOUT
    while True:
        identity = _held(lock_path(path))
        if identity is None:
            return None
        pid = _read(path)
        if pid is not None and _may_hold(pid, identity):
            return pid
        if time.monotonic() >= end:  # an agent that has just started writes its pid within this time
            raise PidFileError(
                f"An agent holds the lock {lock_path(path)}, but {path} does not name it.",
                remedy="Was the pid file removed or written by another process? Find the process with ps and stop it.",
            )
        time.sleep(_PAUSE)


def named_pid(pid_dir: str) -> int | None:
    """Return the pid in the pid file, which proves nothing; None where there is no such file."""
    return _read(os.path.join(pid_dir, NAME))


def is_official_agent(pid: int) -> bool:
    """Return whether a process looks like an official agent by its command line.

    1.x gives itself a title, 2.x is a program of this name; ours is a script that Python runs.
    """
    words = _command_line(pid)
    name = words[0] if words else b""
    return name.startswith(b"codedeploy-agent:") or (
        os.path.basename(name) == b"codedeploy-agent" and b"start" in words
    )


def _held(path: str) -> int | None:
    """The inode of a lock file that somebody holds, None where nobody does."""
    try:
        descriptor = open_regular(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PidFileError(
            f"The lock {path} cannot be opened: {error.strerror}.", remedy="Ask as the user that runs the agent."
        ) from error
    try:
        return None if _try_lock(descriptor, fcntl.LOCK_SH) else os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: str) -> int | None:
    try:
        text = read_regular(path, 32).strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) > 0 else None


def _may_hold(pid: int, inode: int) -> bool:
    """Whether the kernel's list of locks agrees that a process holds the lock; where it has no such list, its life."""
    holders = lock_holders(inode)
    return pid in holders if holders else os.path.exists(f"/proc/{pid}")


def _command_line(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(4096).split(b"\0")
    except OSError:
        return []
