"""Asking the service for commands: first who this host is, then poll after poll, and what to do about errors."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from agent.config.settings import Settings
from agent.daemon.background import Background, Done
from agent.daemon.connection import Connection, Polled, connect, poll
from agent.daemon.schedule import Poll, Schedule
from agent.daemon.startup_state import StartupState
from agent.daemon.status_file import StatusFile
from agent.errors import AgentError
from agent.filesystem.reasons import explained_error
from agent.identity.identity import HostIdentity
from agent.network.credentials import Credentials
from agent.service.client import HostCommand
from agent.service.errors import ServiceError, ServiceErrorKind

PAUSED_FOR = 5.0
"""Seconds after which an agent that may not poll looks again whether it may."""

_log = logging.getLogger(__name__)


class Poller:
    """Polls in the background, one request at a time.

    ``take`` is given each command and says what became of it; ``connected`` is called with the identity before the
    first poll, and again when the startup state has changed; ``may_poll`` is asked before each poll.
    """

    def __init__(
        self,
        startup_state: StartupState,
        *,
        take: Callable[[HostCommand], Poll],
        connected: Callable[[HostIdentity], None],
        may_poll: Callable[[], bool],
        status: StatusFile,
        count: Callable[[str], None],
    ) -> None:
        self._startup_state = startup_state
        self._take = take
        self._connected = connected
        self._may_poll = may_poll
        self._status = status
        self._count = count
        self._problems = status.problems
        self._schedule = Schedule(wait_between_runs=startup_state.settings.wait_between_runs)
        self.background = Background()
        self.connection: Connection | None = None
        self.credentials: Credentials | None = None
        self._outdated = True
        self._waiting = False
        self._wake = threading.Event()
        self._asked_at = 0.0
        self._next = 0.0

    @property
    def settings(self) -> Settings:
        """The settings that polls are made with."""
        return self._startup_state.settings

    def follow(self, startup_state: StartupState, *, reconnect: bool) -> None:
        """Go on with another startup state; what is under way is finished with the old ones."""
        self._startup_state = startup_state
        self._schedule.wait_between_runs = startup_state.settings.wait_between_runs
        if reconnect:
            self._outdated = True
            self._next = 0.0
            self._wake.set()

    def forget_credentials(self) -> None:
        """Have the credentials read anew before they are used again."""
        if self.connection is not None:
            self.connection.credentials.forget()

    def hurry(self) -> None:
        """Poll at once, unless polls fail: an event that follows may be ready."""
        if self.connection is not None and not self._schedule.is_failing:
            self._schedule.event_ended()
            self._next = 0.0
            self._wake.set()

    def turn(self) -> None:
        """Start the next request if it is time."""
        if self._waiting or time.monotonic() < self._next:
            return
        startup_state, connection = self._startup_state, self.connection
        if connection is not None and not self._outdated and not self._may_poll():
            self._next = time.monotonic() + PAUSED_FOR
            return
        self._waiting = True
        self.asking()
        if connection is None or self._outdated:
            self._outdated = False
            self.background.start("connect", lambda: connect(startup_state.settings, startup_state.on_premises))
        else:
            pause = self._schedule.pause_after_nothing
            self.background.start("poll", lambda: poll(connection, pause=pause, wake=self._wake, observer=self))

    def asking(self) -> None:
        """Note that a request is about to be sent; may be called from another thread, as the next one."""
        self._asked_at = time.monotonic()

    def answered(self, command: HostCommand | None, seconds: float) -> None:
        """Note that a poll was answered after so many seconds."""
        self._status.polled(seconds)
        brought = f"{command.name} {command.identifier}" if command is not None else "no command"
        _log.debug("The poll was answered in %.3f s with %s", seconds, brought)

    def _elapsed(self) -> float:
        """Seconds since the last request was sent."""
        return time.monotonic() - self._asked_at

    def due(self) -> float | None:
        """When the next request is due, on the monotonic clock; None while one is under way."""
        return None if self._waiting else self._next

    def take_results(self) -> None:
        """Act upon what has come back."""
        for done in self.background.take():
            self._waiting = False
            if done.error is not None:
                self._failed(done.name, done.error)
            elif done.name == "connect":
                self._connection_made(done.result)
            else:
                self._polled(done)

    def _connection_made(self, connection: Connection) -> None:
        self.connection = connection
        identity = connection.identity
        self._problems.over("connect", "This host knows who it is")
        _log.info("This host is %s in %s, by %s", identity.host_identifier, identity.region, identity.source)
        endpoint = connection.service.url
        route = connection.route
        _log.info("Commands come from %s, %s, %s", endpoint, route.proxy, route.certificates)
        if endpoint.startswith("http://"):
            _log.warning("Commands come from %s over plain http: every process on the way can read them", endpoint)
        self._status.note(
            host_identifier=identity.host_identifier,
            region=identity.region,
            identity_source=identity.source,
            endpoint=endpoint,
            **route._asdict(),
        )
        self._note_credentials()
        self._connected(identity)
        self._next = 0.0

    def _polled(self, done: Done) -> None:
        polled: Polled = done.result
        self.credentials = polled.credentials
        self._note_credentials()
        self._problems.over("poll", "The command service answers again")
        self._count("empty" if polled.command is None else "command")
        try:
            found = Poll.NOTHING if polled.command is None else self._take(polled.command)
        except (OSError, AgentError) as error:
            # Nothing was begun; the service hands the command out again, once the disk takes its record.
            why = explained_error(error, "Taking a command on") if isinstance(error, OSError) else error
            self._failed("record", why)
            return
        if polled.command is not None:
            self._problems.over("record", "Commands can be taken on again")
        self._next = time.monotonic() + self._schedule.pause_after(found, elapsed=self._elapsed())

    def _failed(self, key: str, error: Exception) -> None:
        """Repeat a poll quickly where that may help; else say what is wrong, once, and try again later and later."""
        if not isinstance(error, (AgentError, OSError)):
            _log.error("A defect of the agent: %s failed", key, exc_info=error)
        if isinstance(error, ServiceError) and error.kind is ServiceErrorKind.CREDENTIALS:
            self.forget_credentials()
        if key == "connect":
            self._outdated = True
        self._count(error.kind.value if isinstance(error, ServiceError) else key)
        pause = self._schedule.pause_after(self._kind_of(key, error), elapsed=self._elapsed())
        self._next = time.monotonic() + pause
        if self._schedule.is_repeating:
            _log.debug("%s The poll is repeated in %.1f s", error, pause)
            return
        self._problems.happened(key, str(error))
        self._status.note(last_poll=time.time())

    def _note_credentials(self) -> None:
        if self.connection is not None:
            expires = self.credentials.expires_at if self.credentials is not None else None
            self._status.note(credentials={"source": self.connection.credentials.source, "expires": expires})

    def _kind_of(self, key: str, error: Exception) -> Poll:
        if self.connection is None:
            return Poll.UNKNOWN
        return Poll.PASSING if key == "poll" and isinstance(error, AgentError) and error.passing else Poll.FAILED
