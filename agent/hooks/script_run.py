"""One script of an event, from its file to the judgement."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterable
from functools import cache

from agent.appspec.model import Script
from agent.errors import ScriptError
from agent.hooks import processes
from agent.hooks.accounts import Account
from agent.hooks.channels import DRAIN_BOTH, DRAIN_NONE, DRAIN_STDERR, DRAIN_STDOUT
from agent.hooks.context import EventContext, HookOptions, RunningScript, Started
from agent.hooks.environment import script_environment
from agent.hooks.failures import FailureWriter
from agent.hooks.follower import Ending, EndKind, Follower
from agent.hooks.launch import Launch, NoSudoError, User, choose_user, plan_launch
from agent.hooks.output import Sinks
from agent.hooks.supervisor import ScriptSupervisor
from agent.hooks.writers import other_writers, permit_execution

KILL_TIMEOUT = 5.0
"""Seconds after the grace that killed processes have to disappear; one asleep in a dead file system stays longer."""

_NAMED_AT_MOST = 5

_log = logging.getLogger(__name__)


class ScriptRun:
    """Runs one script; ``on_started`` is told when its process exists."""

    def __init__(
        self, script: Script, context: EventContext, sinks: Sinks, options: HookOptions, on_started: Started | None
    ) -> None:
        self._script = script
        self._context = context
        self._sinks = sinks
        self._options = options
        self._on_started = on_started
        self._path = f"{context.archive}/{script.location}"
        self._failure = FailureWriter(script, context.event, path=self._path)
        self._timeout = options.term_grace_seconds + KILL_TIMEOUT

    def run(self) -> None:
        """Run the script to its end. Raises ScriptError if it fails its event."""
        self._check_location()
        try:
            user = self._user()
        except ScriptError:
            self._announce()  # the official agents notice this only while they start the script
            raise
        self._failure = FailureWriter(self._script, self._context.event, path=self._path, user=user)
        self._make_executable(trusted=not self._may_be_changed(user.account))
        self._announce()
        launch = self._plan(user)
        _log.info("Running %s, timeout %d seconds", self._failure.subject, self._script.timeout)
        deadline = time.monotonic() + self._script.timeout
        try:
            supervisor = ScriptSupervisor(launch, deadline=deadline, grace=self._options.term_grace_seconds)
        except OSError as error:
            raise self._failure.no_process(error) from error
        with supervisor:
            self._follow(supervisor, deadline)

    def _check_location(self) -> None:
        if self._options.reject_path_traversal and _climbs_out(self._script.location):
            raise self._failure.climbs_out()
        try:
            os.stat(self._path)
        except (OSError, ValueError) as error:  # ValueError: there is a NUL in it
            raise self._failure.missing(error) from error

    def _may_be_changed(self, account: Account | None) -> bool:
        """Return whether another account may change the script; warn of it. Raises ScriptError if that is refused."""
        if os.geteuid() != 0:  # the script has no more rights than the owner of everything here
            return False
        try:
            found = other_writers(self._path, account)
        except OSError as error:
            raise self._failure.missing(error) from error
        if found and self._options.reject_scripts_writable_by_others:
            raise self._failure.writable(found, self._context.archive)
        if found:
            _log.warning("%s", self._failure.writable_warning(found, self._context.archive))
        return bool(found)

    def _make_executable(self, *, trusted: bool) -> None:
        if os.access(self._path, os.X_OK):
            return
        try:
            mode = permit_execution(self._path, only_below=None if trusted else self._context.archive)
        except OSError as error:
            raise self._failure.not_executable(error) from error
        _log.warning(
            "Script %s of %s had no execute permission (mode %04o) and was given it; set it in the revision",
            self._script.location,
            self._context.event,
            mode,
        )

    def _announce(self) -> None:
        self._sinks.header(f"Script - {self._script.location}")

    def _plan(self, user: User) -> Launch:
        environment = script_environment(
            os.environ,
            {**self._context.variables, "LIFECYCLE_EVENT": self._context.event},
            account=None if user.login else user.account,
            only_allowlist=self._options.restrict_env_to_allowlist,
            strip_loader=self._options.strip_loader_env,
        )
        return plan_launch(
            self._path,
            user,
            environment,
            directory=self._context.cwd,
            umask=self._options.umask,
            core_limit=self._options.core_limit,
        )

    def _user(self) -> User:
        try:
            user = choose_user(runas=self._script.runas, sudo=self._script.sudo, login=self._options.login_session)
        except LookupError as error:
            raise self._failure.unknown_user(self._script.runas or "root") from error
        except NoSudoError as error:
            raise self._failure.no_sudo() from error
        if self._options.login_session and user.account is not None and not user.login:
            _warn_of_no_session(user.account.name)
        return user

    def _follow(self, supervisor: ScriptSupervisor, deadline: float) -> None:
        follower = Follower(
            supervisor, self._sinks, on_started=lambda pid, start: self._tell_started(supervisor, pid, start)
        )
        try:
            try:
                supervisor.let_signals_in()
                ending = follower.until_ended(deadline + self._timeout)
            except BaseException:
                supervisor.end_tree()
                if follower.until_ended(time.monotonic() + self._timeout) is not None:
                    supervisor.release()
                raise
            if ending is None:
                survivors = [process.pid for process in processes.descendants(supervisor.pid)]
                raise self._failure.timed_out(_describe(survivors))
            self._read_on(follower, ending, deadline)
        finally:
            follower.finish()
        left_open = list(follower.open_streams.values())
        holders = self._let_go(supervisor, follower)
        self._judge(ending, left_open, holders)

    def _tell_started(self, supervisor: ScriptSupervisor, pid: int, start_time: int) -> None:
        if self._on_started is not None:
            itself = processes.look_up(supervisor.pid)
            supervisor_start_time = itself.start_time if itself else 0
            place, timeout = self._script.location, float(self._script.timeout)
            self._on_started(RunningScript(place, pid, start_time, supervisor.pid, supervisor_start_time, timeout))

    def _read_on(self, follower: Follower, ending: Ending, deadline: float) -> None:
        """Read what is left to read once the script has ended."""
        if ending.kind is EndKind.SUPERVISOR_LOST:
            processes.signal_tree(follower.script, follower.script_start_time, signal.SIGKILL)
        if ending.kind is EndKind.ENDED and self._options.wait_for_outputs:
            follower.until_closed(deadline)
        else:
            follower.rest()

    def _let_go(self, supervisor: ScriptSupervisor, follower: Follower) -> list[str]:
        """Send the script supervisor home, with a drainer for what is still open; describes who holds that."""
        streams = follower.open_streams
        holders: list[str] = []
        if streams:
            likely = [process.pid for process in processes.descendants(supervisor.pid)]
            holders = _describe(processes.holders(streams, likely=likely, ours={os.getpid(), supervisor.pid}))
        supervisor.release(_drain_word(streams.values()))
        return holders

    def _judge(self, ending: Ending, left_open: list[str], holders: list[str]) -> None:
        if ending.kind is EndKind.SUPERVISOR_LOST:
            raise self._failure.supervisor_lost(ending.detail)
        if ending.kind is EndKind.TIMED_OUT:
            raise self._failure.timed_out(())
        if ending.kind is EndKind.STOPPED:
            raise self._failure.stopped()
        if ending.failed_step:
            raise self._failure.not_started(ending, directory=self._context.cwd)
        if left_open and self._options.wait_for_outputs:
            raise self._failure.outputs_left_open(left_open[0], holders)
        if left_open:
            self._warn_of_holders(left_open, holders)
        if ending.status != 0:
            raise self._failure.bad_status(ending.status)

    def _warn_of_holders(self, left_open: list[str], holders: list[str]) -> None:
        _log.warning(
            "Script %s of %s has ended but left its %s open in process %s; what is written there from now on is "
            "discarded. Redirect it to a file, or to /dev/null",
            self._script.location,
            self._context.event,
            " and ".join(left_open),
            ", ".join(holders) or "(none that the agent may see)",
        )


def _climbs_out(location: str) -> bool:
    depth = 0
    for part in location.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return True
    return False


def _describe(pids: Iterable[int]) -> list[str]:
    described = [processes.describe(pid) for pid in pids]
    further = len(described) - _NAMED_AT_MOST
    return [*described[:_NAMED_AT_MOST], f"{further} more"] if further > 0 else described


def _drain_word(streams: Iterable[str]) -> bytes:
    names = set(streams)
    if len(names) == 2:
        return DRAIN_BOTH
    if not names:
        return DRAIN_NONE
    return DRAIN_STDOUT if "stdout" in names else DRAIN_STDERR


@cache
def _warn_of_no_session(name: str) -> None:
    """Warn once that a script has no login session."""
    why = "the host has neither su nor runuser" if os.geteuid() == 0 else "the agent is not root"
    _log.warning(
        "Scripts run as %s without a login session, so without the limits, the variables and the control group that"
        " the account has elsewhere: %s. With runas_session: none this is not said",
        name,
        why,
    )
