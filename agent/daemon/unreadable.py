"""Waiting at the start for files that can be read, so that who corrects one need not start the agent again."""

from __future__ import annotations

import logging
import os
import select
import sys

from agent import logs
from agent.daemon.activity import status_line
from agent.daemon.notify import Notifier
from agent.daemon.pidfile import PidFile
from agent.daemon.signals import Signals
from agent.daemon.startup_state import StartupState, UnreadableError, read_startup_state, start_reading
from agent.daemon.status_file import FRESH_FOR, StatusFile
from agent.daemon.watch import FileWatch
from agent.errors import AgentError
from agent.runtime.log_files import set_up_logs
from agent.runtime.own_directories import check_own_directories

_log = logging.getLogger(__name__)


def wait_for_startup_state(error: UnreadableError, config_file: str | None) -> StartupState | None:
    """Be the agent that does nothing until its files can be read; return what they say, None after a signal to stop.

    Raises what keeps an agent from starting: AlreadyRunningError, PidFileError, ConfigError, OSError.
    """
    try:
        check_own_directories(error.settings)
        with PidFile(error.settings.pid_dir):
            set_up_logs(error.settings)
            return _Waiting(error, config_file).run()
    except AgentError as second:
        second.message = f"{error} {second.message}"
        raise


class _Waiting:
    """One wait, with the files watched and systemd told that the agent is up."""

    def __init__(self, error: UnreadableError, config_file: str | None) -> None:
        self._config_file = config_file
        self._signals = Signals()
        self._notifier = Notifier(os.environ)
        self._status = StatusFile(error.settings)
        self._watch = FileWatch(error.paths, lambda changed: self._signals.wake())
        self._told = ""
        self._tell(error)
        self._signals.wake()  # the file may have been corrected before it was watched

    def run(self) -> StartupState | None:
        """Wait until the files can be read or a signal comes."""
        self._notifier.ready()
        pause = min(self._notifier.watchdog_interval or FRESH_FOR, FRESH_FOR)
        try:
            while not self._signals.stop:
                self._notifier.watchdog()
                self._status.write_if_due()
                select.select([self._signals.descriptor], [], [], pause)
                self._signals.drain()
                startup_state = self._read() if self._signals.take_reload() else None
                if startup_state is not None:
                    _log.info("The configuration can be read now, and the agent goes on")
                    return startup_state
        finally:
            self._watch.close()
            self._status.close()
        self._notifier.stopping()
        _log.info("Stopped by %s", self._signals.stop, extra=logs.TO_JOURNAL)
        return None

    def _read(self) -> StartupState | None:
        try:
            return read_startup_state(start_reading(self._config_file))
        except UnreadableError as error:
            self._tell(error)
        except (AgentError, OSError) as error:
            _log.error("The configuration cannot be read: %s", error)
        return None

    def _tell(self, error: UnreadableError) -> None:
        """Say what is wrong in the log, in the journal and in the status; once, as long as it is the same."""
        if str(error) == self._told:
            return
        self._told = str(error)
        text = f"The agent waits for a configuration that it can read. {error}"
        self._status.problems.forget("configuration")
        self._status.problems.happened("configuration", text)
        if not logs.reach_journal():
            print(text, file=sys.stderr, flush=True)
        self._status.note(state="waiting")
        self._notifier.status(status_line(self._status.fields))
