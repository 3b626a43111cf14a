"""Who this host is and the service that it polls; made in the background, because it may take a while at boot."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Event
from typing import NamedTuple, Protocol

from agent.config.settings import Settings
from agent.identity.credentials import CredentialSource
from agent.identity.identity import HostIdentity, find_identity
from agent.identity.on_premises import OnPremises
from agent.network.credentials import Credentials
from agent.runtime.connections import Route, describe_route, make_http, make_metadata, make_service
from agent.service.client import CommandService, HostCommand

HIDDEN = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CREDENTIAL_FILE",
    "AWS_ACCESS_KEY",
    "AWS_SECRET_KEY",
)
"""Environment variables that the agent does not look at, as the official one, and does not pass on."""


LONGEST_WATCH = 10.0
"""Seconds after which the supervisor hears that polling goes on, though there is nothing to do."""


class Connection(NamedTuple):
    """An identity, the credentials that go with it, the command service of its region, and the way to it."""

    identity: HostIdentity
    credentials: CredentialSource
    service: CommandService
    route: Route


class Polled(NamedTuple):
    """What one poll has brought, and the credentials that it was signed with, for the worker that may follow."""

    command: HostCommand | None
    credentials: Credentials


def connect(settings: Settings, on_premises: OnPremises | None) -> Connection:
    """Find out who this host is and how to reach its service; one attempt.

    Raises IdentityError, ServiceConfigError, NetworkError.
    """
    http = make_http(settings)
    metadata = make_metadata(settings, http)
    identity = find_identity(on_premises, metadata, os.environ)
    credentials = CredentialSource(identity, on_premises, metadata)
    service = make_service(settings, identity, credentials.current, http)
    return Connection(identity, credentials, service, describe_route(settings, service.url))


class PollObserver(Protocol):
    """Hears of each request and of each answer, in the thread that polls."""

    def asking(self) -> None:
        """A request is about to be sent."""

    def answered(self, command: HostCommand | None, seconds: float) -> None:
        """It was answered after so many seconds."""


def poll(connection: Connection, *, pause: Callable[[], float], wake: Event, observer: PollObserver) -> Polled:
    """Ask for a command, and again after each ``pause``, until one comes or ``LONGEST_WATCH`` seconds are over.

    The loop of the supervisor sleeps meanwhile, which is a third of what an idle agent costs. ``wake`` ends a pause and
    makes the next answer the last. Raises what ``CommandService.poll`` and ``CredentialSource.current`` raise.
    """
    end = time.monotonic() + LONGEST_WATCH
    last = False
    while True:
        observer.asking()
        start = time.monotonic()
        command = connection.service.poll(connection.identity.host_identifier)
        observer.answered(command, time.monotonic() - start)
        seconds = pause()
        if command is not None or last or time.monotonic() + seconds >= end:
            return Polled(command, connection.credentials.current())
        if wake.wait(seconds):
            wake.clear()
            last = True
