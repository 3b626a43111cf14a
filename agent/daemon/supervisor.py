"""The supervisor: one loop that polls, starts workers, looks after what they leave, and answers signals.

Everything that may take long happens elsewhere: asking the services in a background thread, the commands themselves in
their workers, reading YAML in a child. So a stop is answered at once, and systemd's watchdog is fed as long as the
loop turns.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import selectors
import signal
import time
from contextlib import suppress

from agent import __version__, logs
from agent.config.file import ENVIRONMENT_VARIABLE
from agent.daemon.activity import Activity
from agent.daemon.background_jobs import BackgroundJobs, TrafficCare
from agent.daemon.connection import HIDDEN
from agent.daemon.fork_server import ForkServer
from agent.daemon.intake import Intake
from agent.daemon.metrics import Metrics
from agent.daemon.notify import VARIABLES, Notifier
from agent.daemon.orphans import take_over_tracked
from agent.daemon.pause import Pause
from agent.daemon.pidfile import PidFile, claim_root_directory, lock_path
from agent.daemon.poller import Poller
from agent.daemon.reload import Watch, identity_change, merge
from agent.daemon.signals import Signals
from agent.daemon.spawn import Child, keep_descriptors
from agent.daemon.startup_state import StartupState, UnreadableError, read_startup_state, start_reading
from agent.daemon.status_file import StatusFile
from agent.daemon.version_file import write_version
from agent.daemon.workers import AT_MOST, Workers
from agent.errors import AgentError
from agent.identity.identity import HostIdentity, ignored_variables
from agent.runtime.host import layout_of
from agent.runtime.log_files import set_up_logs
from agent.runtime.own_directories import check_own_directories
from agent.store.commands import CommandDirectory, CommandStore
from agent.worker.handoff import Handoff, forgo_core_dumps

LONGEST_TURN = 30.0
"""Seconds for which the loop may sleep without looking around."""

_EARLY_TURN = 1.0
"""Seconds for which it may sleep while a command that has just come does not name its deployment yet."""

POLL_GRACE = 60.0
"""Seconds beyond its time-out after which a poll counts as stuck, and systemd is no longer told that all is well: the
throttle gate may hold it for most of them."""

_log = logging.getLogger(__name__)


def run(config_file: str | None) -> int:
    """Be the agent until a signal stops it; gives the exit status.

    A configuration that cannot be read is waited for. Raises ConfigError, AlreadyRunningError, PidFileError, OSError
    where the agent cannot start.
    """
    config_file = config_file or os.environ.get(ENVIRONMENT_VARIABLE)
    config_file = os.path.abspath(config_file) if config_file else None
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until somebody listens
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started the agent may ignore it, and children be lost
    reading = start_reading(config_file)
    os.chdir("/")
    os.umask(0o022)
    keep_descriptors()
    startup_state = _read_startup_state(reading, config_file)
    if startup_state is None:
        return 0
    check_own_directories(startup_state.settings)
    with PidFile(startup_state.settings.pid_dir) as pid_file:
        set_up_logs(startup_state.settings)
        root_lock = claim_root_directory(layout_of(startup_state.settings))
        try:
            return Supervisor(startup_state, config_file, supervisor_lock=lock_path(pid_file.path)).run()
        except Exception:
            _log.exception("A defect of the agent ended it; commands that are worked on go on")
            if logs.reach_journal():
                return 1  # without the traceback on stderr, since the journal has it
            raise
        finally:
            root_lock.release()


def _read_startup_state(reading: Child, config_file: str | None) -> StartupState | None:
    """Return what the files of this host say, as soon as they can be read; None where a signal came before that."""
    try:
        return read_startup_state(reading)
    except UnreadableError as error:
        from agent.daemon.unreadable import wait_for_startup_state  # seldom needed

        return wait_for_startup_state(error, config_file)


class Supervisor:
    """The running agent; ``supervisor_lock`` is held as long as it lives."""

    def __init__(self, startup_state: StartupState, config_file: str | None, *, supervisor_lock: str) -> None:
        self._startup_state = startup_state
        self._config_file = config_file
        self._supervisor_lock = supervisor_lock
        self._core_limit: int | None = None
        self._notifier = Notifier(os.environ)
        self._ignored = ignored_variables(os.environ)
        for name in (*HIDDEN, *VARIABLES):
            os.environ.pop(name, None)
        self._environment = dict(os.environ)
        self._layout = layout_of(startup_state.settings)
        self._store = CommandStore(self._layout)
        self._selector = selectors.DefaultSelector()
        self._signals = Signals()
        self._metrics = Metrics(startup_state.settings.metrics_file, version=__version__)
        self._workers = Workers(self._store, self._selector, closed=self._closed)
        self._fork_server = ForkServer(self._selector)
        self._status = StatusFile(startup_state.settings)
        self._activity = Activity(self._layout, self._status, self._notifier)
        self._pause_of_person = Pause(self._layout, lambda paused: self._status.note(paused=paused))
        leaves = self._pause_of_person.leaves
        self._poller = Poller(
            startup_state,
            take=Intake(self._store, self._workers, self._start_worker, leaves=leaves).take,
            connected=self._connected,
            may_poll=self._pause_of_person.may_poll,
            status=self._status,
            count=self._metrics.polled,
        )
        self._watch = Watch(startup_state, config_file, self._signals.wake)
        self._background_jobs = BackgroundJobs(self._selector, self._environment)
        self._traffic = TrafficCare(self._layout, self._start_traffic_recovery)
        self._reading: Child | None = None
        self._read_again = False

    def run(self) -> int:
        """Turn the loop until a signal ends it."""
        self._start()
        self._selector.register(self._signals.descriptor, selectors.EVENT_READ, self._signals.drain)
        self._selector.register(self._poller.background.wake, selectors.EVENT_READ, self._poller.take_results)
        while not self._signals.stop:
            self._turn()
            for key, _ in self._selector.select(self._pause()):
                if key.data is not self._workers:
                    key.data()
                elif self._workers.heard(key.fd):
                    # The next event of the deployment is ready as soon as this one is reported.
                    self._poller.hurry()
        return self._stop()

    def _start(self) -> None:
        settings = self._startup_state.settings
        if settings.disable_core_dumps:
            self._core_limit = forgo_core_dumps()
        files = ", ".join(self._startup_state.files) or "default settings"
        _log.info("Starting version %s with %s", __version__, files, extra=logs.TO_JOURNAL)
        self._warn()
        if self._ignored:
            _log.warning("Not used, as credentials of this agent come from elsewhere: %s", ", ".join(self._ignored))
        write_version(settings.root_dir)
        self._recover_installs()
        self._store.sweep()
        self._workers.look_around()
        gc.collect()
        gc.freeze()  # what is there now stays for ever, and need not be looked through again and again
        # The agent is up from here on, however long instance metadata or the network may take.
        self._notifier.ready()

    def _stop(self) -> int:
        self._notifier.stopping()
        self._watch.close()
        self._fork_server.stop()
        self._status.close()
        _log.info("Stopped by %s", self._signals.stop, extra=logs.TO_JOURNAL)
        self._workers.leave()
        return 0

    def _turn(self) -> None:
        if self._signals.take_reload():
            self._begin_reload()
        self._pause_of_person.turn()
        if self._poller.connection is not None:
            if self._workers.are_stuck():
                self._fork_server.kill()
            self._workers.begin_due(self._start_worker)
            self._traffic.turn()
        # A poll that nobody could take on would only hide its command from the service.
        if len(self._workers) < AT_MOST:
            self._poller.turn()
        if self._poller.background.busy_for() < self._startup_state.settings.http_read_timeout + POLL_GRACE:
            self._notifier.watchdog()
        self._activity.turn(self._workers.at_work())
        self._status.write_if_due()
        self._metrics.write_if_due(self._startup_state.settings)

    def _pause(self) -> float:
        """Seconds until the next turn, unless something happens before."""
        due = [time.monotonic() + min(self._notifier.watchdog_interval or LONGEST_TURN, LONGEST_TURN)]
        if len(self._workers) < AT_MOST:
            waiting = self._workers.next_due() if self._poller.connection is not None else None
            due += [moment for moment in (self._poller.due(), waiting) if moment is not None]
        due += [self._metrics.due] if self._metrics.is_on else []
        if self._activity.is_early:
            due.append(time.monotonic() + _EARLY_TURN)
        return max(min(due) - time.monotonic(), 0.0)

    def _connected(self, identity: HostIdentity) -> None:
        if self._startup_state.on_premises is not None:
            # Scripts of on-premises hosts rely on these two, which the official agents give them.
            self._environment |= {"AWS_REGION": identity.region, "AWS_HOST_IDENTIFIER": identity.host_identifier}
        take_over_tracked(self._store, self._layout, host_identifier=identity.host_identifier)
        self._workers.look_around()

    def _closed(self, directory: CommandDirectory) -> None:
        """Count what has come of a command."""
        if self._metrics.is_on:
            with suppress(OSError):  # the disk does not say
                outcome = self._store.finished_at(directory)
                if outcome is not None:
                    self._metrics.command_ended(outcome)

    def _start_worker(self, directory: CommandDirectory) -> int:
        """Have a worker forked for a command; it gets what it needs to know, and nothing of ours stays open in it."""
        idle = self._startup_state.settings.fork_server_idle_seconds
        handoff = self._handoff().render()
        return self._fork_server.fork(directory.path, handoff, environment=self._environment, idle=idle)

    def _start_traffic_recovery(self) -> None:
        self._background_jobs.start("agent.worker.traffic_recovery", self._handoff().render())

    def _handoff(self) -> Handoff:
        connection = self._poller.connection
        if connection is None:
            raise AgentError("This host does not know yet who it is.")
        return Handoff(
            settings=self._startup_state.settings,
            identity=connection.identity,
            on_premises=self._startup_state.on_premises,
            credentials=self._poller.credentials,
            supervisor_lock=self._supervisor_lock,
            core_limit=self._core_limit,
        )

    def _recover_installs(self) -> None:
        """Have interrupted Installs brought to their end, by a child, since that takes the installer."""
        directory = os.path.join(self._layout.state, "install")
        if os.path.isdir(directory) and os.listdir(directory):
            _log.warning("An Install was interrupted; it is brought to its end")
            self._background_jobs.start(
                "agent.worker.recovery", json.dumps(self._startup_state.settings._asdict()).encode()
            )

    def _begin_reload(self) -> None:
        logs.reopen()
        self._poller.forget_credentials()
        self._read_again = self._reading is not None  # what is being read now may be the files of before
        if self._reading is None:
            try:
                self._reading = start_reading(self._config_file)
            except OSError as error:
                self._keep_configuration(error)
                return
            self._notifier.reloading()
            self._selector.register(self._reading.output, selectors.EVENT_READ, self._end_reload)

    def _end_reload(self) -> None:
        if self._reading is None:
            return
        reading, self._reading = self._reading, None
        self._selector.unregister(reading.output)
        if self._read_again:
            self._signals.wake()
        try:
            new = read_startup_state(reading)
        except (AgentError, OSError) as error:
            self._keep_configuration(error)
            self._notifier.ready()
            return
        self._status.problems.over("configuration", "The configuration can be read again")
        settings, changed, late = merge(self._startup_state.settings, new.settings)
        if late:
            _log.warning("Changed in the configuration, but only after a restart: %s", ", ".join(late))
        other_identity = new.on_premises != self._startup_state.on_premises
        if changed:
            _log.info("The configuration was read again; changed: %s", ", ".join(changed))
        if other_identity:
            _log.info("%s", identity_change(self._startup_state.on_premises, new.on_premises))
        self._startup_state = new._replace(settings=settings)
        self._warn()
        self._poller.follow(self._startup_state, reconnect=bool(changed) or other_identity)
        self._watch.follow(self._startup_state, self._config_file)
        set_up_logs(settings)
        self._metrics.follow(settings.metrics_file)
        self._status.note(wait_between_runs=settings.wait_between_runs)
        self._notifier.ready()

    def _keep_configuration(self, error: Exception) -> None:
        text = f"The configuration stays as it was, because it cannot be read: {error}"
        self._status.problems.forget("configuration")
        self._status.problems.happened("configuration", text)

    def _warn(self) -> None:
        for warning in self._startup_state.warnings:
            _log.warning("%s", warning)
