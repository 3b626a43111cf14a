"""The credentials that requests are signed with: their source, their renewal, and what survives when that fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from agent.identity.errors import CredentialsError, IdentityError
from agent.identity.identity import HostIdentity
from agent.identity.metadata import InstanceMetadata
from agent.identity.on_premises import OnPremises
from agent.identity.session_file import SessionFile
from agent.identity.times import shown_time
from agent.network.credentials import Credentials

_log = logging.getLogger(__name__)

RENEW_BEFORE = 300.0
"""Seconds before their end at which credentials are renewed; so does the official agent."""

RETRY_AFTER = 30.0
"""Seconds from a failed renewal to the next, while the old credentials are still valid."""

SHORTEST_LIFE = 360.0
"""Seconds for which a role's credentials are used at least: when EC2 cannot renew them it hands out old ones, and the
services accept those for longer. The official agent 2.x does the same."""

_SHORTEST_HOLD = 60.0


class CredentialProvider(Protocol):
    """Where credentials can be read again and again."""

    @property
    def description(self) -> str:
        """Name the source for the log."""

    def changed(self) -> bool:
        """Tell, cheaply, whether reading again would give something else."""

    def read(self) -> Credentials:
        """Read. Raises IdentityError."""


class _Fixed:
    """The keys of an IAM user; they stay as they are until the on-premises file is read anew."""

    def __init__(self, on_premises: OnPremises) -> None:
        self._credentials = Credentials(on_premises.access_key or "", on_premises.secret_key or "")
        self.description = f"the access key {on_premises.access_key} in {on_premises.path}"

    def changed(self) -> bool:
        return False

    def read(self) -> Credentials:
        return self._credentials


class _Role:
    """The role of the instance."""

    def __init__(self, metadata: InstanceMetadata, clock: Callable[[], float]) -> None:
        self._metadata = metadata
        self._clock = clock
        self.description = f"the instance's role, by instance metadata at {metadata.endpoint}"

    def changed(self) -> bool:
        return False

    def read(self) -> Credentials:
        found = self._metadata.credentials()
        return found._replace(expires_at=max(found.expires_at or 0.0, self._clock() + SHORTEST_LIFE))


class CredentialSource:
    """The current credentials of this host, from the source that its identity names and no other.

    May be used by several threads; while one of them renews, the others go on with the old ones if those are valid.
    ``initial`` are used until they are due, but a credentials file is read at once. ``clock`` gives seconds since the
    epoch.
    """

    def __init__(
        self,
        identity: HostIdentity,
        on_premises: OnPremises | None,
        metadata: InstanceMetadata,
        *,
        initial: Credentials | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._provider = _provider(identity, on_premises, metadata, clock)
        self._held: Credentials | None = None
        self._renew_at = 0.0
        self._forgotten = False
        self._said = ""
        self._failing = False
        if initial is not None:
            self._hold(initial)

    @property
    def source(self) -> str:
        """Name where the credentials come from, for a log; without secrets."""
        return self._provider.description

    def current(self) -> Credentials:
        """Return credentials that are valid now; renewed when they end within five minutes or their file has changed.

        Where that fails, the old ones are given for as long as they are valid. Raises CredentialsError when there are
        none left.
        """
        held = self._valid()
        if held is not None and not self._due():
            return held
        if not self._lock.acquire(blocking=held is None):
            assert held is not None
            return held
        try:
            held = self._valid()
            return held if held is not None and not self._due() else self._renew(held)
        finally:
            self._lock.release()

    def forget(self) -> None:
        """Read again at the next use: the file has changed, or the service has refused them."""
        self._forgotten = True

    def replace(self, on_premises: OnPremises) -> None:
        """Go on with what a changed on-premises file says."""
        with self._lock:
            old = self._provider
            if isinstance(old, SessionFile) and old.path == on_premises.credentials_file:
                self._forgotten = True
                return
            self._provider = _of_file(on_premises, self._clock)
            self._held = None

    def _valid(self) -> Credentials | None:
        held = self._held
        if held is None or (held.expires_at is not None and self._clock() >= held.expires_at):
            return None
        return held

    def _due(self) -> bool:
        return self._forgotten or self._clock() >= self._renew_at or self._provider.changed()

    def _renew(self, old: Credentials | None) -> Credentials:
        # First, so that a refusal which comes while this is under way is not lost.
        self._forgotten = False
        try:
            found = self._provider.read()
        except IdentityError as error:
            if old is None:
                raise _as_credentials_error(error) from error.__cause__
            self._renew_at = self._clock() + RETRY_AFTER
            self._note(error, old)
            return old
        self._hold(found)
        if self._failing or self._said != self.source:
            self._failing, self._said = False, self.source
            until = "" if found.expires_at is None else f", valid until {shown_time(found.expires_at)}"
            _log.info("Credentials come from %s%s.", self.source, until)
        return found

    def _hold(self, found: Credentials) -> None:
        ends = float("inf") if found.expires_at is None else found.expires_at
        self._held = found
        self._renew_at = max(ends - RENEW_BEFORE, self._clock() + _SHORTEST_HOLD)

    def _note(self, error: IdentityError, old: Credentials) -> None:
        if self._failing:
            return
        self._failing = True
        until = "" if old.expires_at is None else f", until {shown_time(old.expires_at)}"
        _log.warning("Credentials could not be renewed; the old ones are used%s. %s", until, error)


def _as_credentials_error(error: IdentityError) -> CredentialsError:
    if isinstance(error, CredentialsError):
        return error
    text = f"There are no credentials to sign requests with. {error.message}"
    return CredentialsError(text, remedy=error.remedy, passing=error.passing)


def _provider(
    identity: HostIdentity, on_premises: OnPremises | None, metadata: InstanceMetadata, clock: Callable[[], float]
) -> CredentialProvider:
    if identity.kind in ("ec2", "environment"):
        return _Role(metadata, clock)
    if on_premises is None:
        raise CredentialsError(f"An identity of the kind {identity.kind} needs an on-premises file.", passing=False)
    return _of_file(on_premises, clock)


def _of_file(on_premises: OnPremises, clock: Callable[[], float]) -> CredentialProvider:
    if on_premises.credentials_file is not None:
        return SessionFile(on_premises.credentials_file, clock=clock)
    return _Fixed(on_premises)
