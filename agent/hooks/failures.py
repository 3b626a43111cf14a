"""Why a script failed its event, in words: what was expected, what happened, where, and what to do."""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Sequence
from contextlib import suppress

from agent.appspec.hooks import location_advice
from agent.appspec.model import Script
from agent.errors import NOT_STARTED, DiagnosticCode, ScriptError
from agent.filesystem.reasons import remedy_for
from agent.hooks.accounts import Account, first_closed_directory
from agent.hooks.follower import Ending
from agent.hooks.launch import NOBODY, STEP_DIRECTORY, STEP_USER, User
from agent.hooks.writers import ScriptWriter, explain_writers

_LOCATION = (
    "Correct 'location' in the hooks section of the AppSpec file (upper and lower case matter), or add the file to the"
    " bundle."
)
_COMMAND_NOT_FOUND = (126, 127)  # as env and the shells have it
_SIGNALS = 128  # what shells and su add to the number of a signal
_LONGEST_FIRST_LINE = 256


class FailureWriter:
    """Words the failures of one script of one event; ``path`` is where its file is, ``user`` who it runs as."""

    def __init__(self, script: Script, event: str, *, path: str, user: User = NOBODY) -> None:
        self._script = script
        self._path = path
        self._account = user.account
        self._login = bool(user.login)
        name = script.runas or ("root" if script.sudo else None)
        self.subject = f"script {script.location} of {event}" + (f" as user {name}" if name else "")

    def missing(self, error: Exception) -> ScriptError:
        """There is no such file."""
        reason = error.strerror if isinstance(error, OSError) else error
        archive = self._path.removesuffix(f"/{self._script.location}")
        advice = location_advice(self._script.location, lambda path: os.path.isfile(os.path.join(archive, path)))
        return self._error(
            DiagnosticCode.SCRIPT_MISSING,
            f"cannot be found in the revision: {self._path}: {reason}. " + (advice or _LOCATION),
            ending=NOT_STARTED,
        )

    def climbs_out(self) -> ScriptError:
        """The location leads out of the revision, and a setting forbids that."""
        return self._not_run(
            "has a location that leads out of the revision, which the setting reject_path_traversal_in_bundle forbids."
        )

    def writable(self, found: Sequence[ScriptWriter], archive: str) -> ScriptError:
        """Return the error for a script that other accounts may change, which a setting forbids."""
        return self._not_run(
            "was not run, because the setting reject_scripts_writable_by_others forbids it:"
            f" {explain_writers(found, archive)}"
        )

    def writable_warning(self, found: Sequence[ScriptWriter], archive: str) -> str:
        """Return the warning for a script that other accounts may change."""
        return (
            f"S{self.subject[1:]} runs although another account may change it: {explain_writers(found, archive)} "
            "With reject_scripts_writable_by_others: true the agent refuses such scripts."
        )

    def not_executable(self, error: OSError) -> ScriptError:
        """The file has no execute permission, and giving it one failed."""
        return self._not_run(
            f"has no execute permission and could not be given it: {error.strerror} ({self._path}). "
            + remedy_for(error, otherwise="Make it executable in the revision, with chmod +x."),
            DiagnosticCode.SCRIPT_NOT_EXECUTABLE,
        )

    def unknown_user(self, name: str) -> ScriptError:
        """``runas`` names nobody."""
        return self._not_run(
            f"cannot be started: this host has no user {name!r}. Create the account, or correct 'runas' in the hooks "
            "section of the AppSpec file."
        )

    def no_sudo(self) -> ScriptError:
        """The agent is not root and there is no sudo."""
        return self._not_run(
            f"cannot be started: the agent runs as user number {os.geteuid()} and would need sudo for this, which is "
            "not in its PATH. Run the agent as root, or install sudo and allow it to that user without a password."
        )

    def no_process(self, error: OSError) -> ScriptError:
        """The host has no room for another process or pipe."""
        return self._not_run(f"cannot be started: {error.strerror}. {remedy_for(error)}".rstrip())

    def timed_out(self, survivors: Sequence[str]) -> ScriptError:
        """The script did not end in time; ``survivors`` describe processes that even KILL has not ended yet."""
        done = "It and everything that it had started have been ended"
        if survivors:
            done = f"It has been told to end, but these processes could not be ended yet: {', '.join(survivors)}"
        return self._error(
            DiagnosticCode.SCRIPT_TIMED_OUT,
            f"did not end within its timeout of {self._seconds()}. {done}. If it needs longer, raise "
            "'timeout' in the hooks section of the AppSpec file.",
            ending="timeout",
        )

    def outputs_left_open(self, stream: str, holders: Sequence[str]) -> ScriptError:
        """The script ended, but ``stream`` was held open until its deadline."""
        by = f" by process {', '.join(holders)}" if holders else ""
        return self._error(
            DiagnosticCode.OUTPUTS_LEFT_OPEN,
            f"ended, but its {stream.upper()} was still held open{by} at its timeout of {self._seconds()}. "
            "Redirect the output of what the script leaves running, to a log file or to /dev/null.",
            ending="output left open",
        )

    def stopped(self) -> ScriptError:
        """Somebody told the script supervisor to end the script."""
        text = "was ended from outside before it was done, together with everything it had started."
        return self._failed(text, ending="stopped")

    def supervisor_lost(self, detail: str) -> ScriptError:
        """The script supervisor is gone, so the script's end is unknown; ``detail`` is its last words, if any."""
        why = detail or "it was killed; the kernel's log tells whether memory had run out"
        return self._failed(f"failed, because the agent's process that starts it and waits for it did: {why}.")

    def bad_status(self, status: int) -> ScriptError:
        """The script's wait status says that it failed."""
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            dumped = " (core dumped)" if os.WCOREDUMP(status) else ""
            name = _signal_name(-code)
            return self._failed(f"was killed by signal {name}{dumped}.", ending=f"signal {name}")
        text = f"failed with exit code {code}{self._what_it_may_mean(code)}"
        return self._failed(text, ending=f"exit code {code}")

    def _what_it_may_mean(self, code: int) -> str:
        if code in _COMMAND_NOT_FOUND and _first_line(self._path).endswith(b"\r"):
            return ". Its lines end in CRLF, as on Windows; a script for Linux needs LF alone."
        if not self._login:
            return "."
        # The shell of the account has started it, and hides what happened behind a number.
        with suppress(OSError):  # the script may have removed itself
            if code in _COMMAND_NOT_FOUND and (reason := self._why_not_for_account()):
                return f": {reason}"
        if code - _SIGNALS in signal.valid_signals():
            return f", as a script does that signal {_signal_name(code - _SIGNALS)} has killed."
        return "."

    def _why_not_for_account(self) -> str:
        interpreter = _interpreter(self._path)
        if interpreter and not os.path.exists(interpreter):
            return self._why_not_executed(errno.ENOENT)
        return "" if self._account is None or self._may_execute(self._account) else self._why_not_allowed(interpreter)

    def _may_execute(self, account: Account) -> bool:
        status = os.stat(self._path)
        bits = stat.S_IXUSR if status.st_uid == account.uid else stat.S_IXGRP if status.st_gid in account.groups else 1
        passes = account.uid == 0 or (
            first_closed_directory(self._path, account) is None and bool(status.st_mode & bits)
        )
        return passes and not os.statvfs(self._path).f_flag & os.ST_NOEXEC

    def not_started(self, ending: Ending, *, directory: str) -> ScriptError:
        """The process could not become the script; ``directory`` is the working directory that was asked for."""
        reason = f"{os.strerror(ending.error)}."
        error = OSError(ending.error, reason, directory if ending.failed_step == STEP_DIRECTORY else None)
        reason = f"{reason} {remedy_for(error)}".rstrip()
        if ending.failed_step == STEP_DIRECTORY:
            return self._not_run(f"cannot be started: its working directory {directory} cannot be entered: {reason}")
        if ending.failed_step == STEP_USER:
            return self._not_run(f"cannot be started: the agent could not change to its user: {reason}")
        return self._not_run(f"cannot be started: {self._why_not_executed(ending.error)}")

    def _why_not_executed(self, error: int) -> str:
        interpreter = _interpreter(self._path)
        reason = os.strerror(error)
        if error == errno.ENOENT and interpreter.endswith("\r"):
            return (
                f"its first line asks for the interpreter {interpreter!r}, with a carriage return at the end. Its "
                "lines end in CRLF, as on Windows; convert them to LF, with dos2unix or sed."
            )
        if error == errno.ENOENT and interpreter:
            return f"its first line asks for the interpreter {interpreter}, which is not on this host."
        if error == errno.EACCES:
            return self._why_not_allowed(interpreter)
        if error == errno.ENOEXEC:
            return "it is a program for another kind of processor."
        if error == errno.E2BIG:
            return "its environment is larger than the kernel takes."
        return f"{self._path}: {reason}. {remedy_for(OSError(error, reason, self._path))}".rstrip()

    def _why_not_allowed(self, interpreter: str) -> str:
        status = os.stat(self._path)
        if stat.S_ISDIR(status.st_mode):
            return f"{self._path} is a directory, not a file."
        if os.statvfs(self._path).f_flag & os.ST_NOEXEC:
            return f"the file system of {self._path} is mounted noexec."
        closed = first_closed_directory(self._path, self._account) if self._account else None
        if closed and self._account:
            return f"user {self._account.name} may not pass the directory {closed} on the way to {self._path}."
        if interpreter and not os.access(interpreter, os.X_OK):
            return f"its first line asks for the interpreter {interpreter}, which is not executable."
        return f"its user may not execute {self._path} (mode {stat.S_IMODE(status.st_mode):04o})."

    def _seconds(self) -> str:
        return f"{self._script.timeout} second" + ("" if self._script.timeout == 1 else "s")

    def _failed(self, text: str, *, ending: str = "") -> ScriptError:
        return self._error(DiagnosticCode.SCRIPT_FAILED, text, ending=ending)

    def _not_run(self, text: str, code: DiagnosticCode = DiagnosticCode.SCRIPT_FAILED) -> ScriptError:
        return self._error(code, text, started=False)

    def _error(self, code: DiagnosticCode, text: str, *, started: bool = True, ending: str = "") -> ScriptError:
        message, name = f"S{self.subject[1:]} {text}", self._script.location
        return ScriptError(message, code=code, script_name=name, started=started, ending=ending)


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} ({number})"
    except ValueError:  # the real-time signals have no names of their own
        return str(number)


def _first_line(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.readline(_LONGEST_FIRST_LINE).removesuffix(b"\n")
    except OSError:
        return b""


def _interpreter(path: str) -> str:
    """The interpreter that a ``#!`` line names, with the carriage return that may be stuck to it; else empty."""
    line = _first_line(path)
    if not line.startswith(b"#!"):
        return ""
    words = line[2:].lstrip(b" \t").replace(b"\t", b" ").split(b" ")
    return os.fsdecode(words[0])
