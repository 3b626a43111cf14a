"""What a worker has at hand for one command: the settings, the store, and the services, connected when first needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from agent.errors import AgentError
from agent.filesystem.locks import FileLock
from agent.identity.credentials import CredentialSource
from agent.runtime.connections import make_http, make_metadata, make_service
from agent.runtime.host import Host, Observer, layout_of
from agent.service.errors import ServiceError, ServiceErrorKind
from agent.store.commands import CommandStore
from agent.worker.handoff import Handoff

if TYPE_CHECKING:
    from agent.bundle.fetch import FetchOptions
    from agent.network.http import HttpClient
    from agent.service.client import CommandService
    from agent.traffic.policy import Policy
    from agent.traffic.provider import BalancerAccess
    from agent.trust.policy import SignerPolicy

Answer = TypeVar("Answer")

WORKING_DIRECTORY = "/opt/codedeploy-agent"
"""Where scripts start on a host that has this directory, as with the official agents; else in ``/``."""


class Session:
    """A worker's settings and connections; nothing is connected before it is used."""

    def __init__(self, handoff: Handoff) -> None:
        self.handoff = handoff
        self.settings = handoff.settings
        self.layout = layout_of(handoff.settings)
        self.store = CommandStore(self.layout)

    @cached_property
    def http(self) -> HttpClient:
        """The HTTP client of this worker."""
        return make_http(self.settings)

    @cached_property
    def credentials(self) -> CredentialSource:
        """The host's credentials, renewed when that is due."""
        handoff = self.handoff
        metadata = make_metadata(self.settings, self.http)
        return CredentialSource(handoff.identity, handoff.on_premises, metadata, initial=handoff.credentials)

    @cached_property
    def service(self) -> CommandService:
        """The command service. Raises ServiceConfigError."""
        return make_service(self.settings, self.handoff.identity, self.credentials.current, self.http)

    def ask(self, call: Callable[[CommandService], Answer]) -> Answer:
        """Call the command service; where it refuses the credentials, once more with fresh ones.

        Raises what the call raises.
        """
        try:
            return call(self.service)
        except ServiceError as error:
            if error.kind is not ServiceErrorKind.CREDENTIALS:
                raise
            self._renew_credentials()
            return call(self.service)

    def _renew_credentials(self) -> None:
        """Let go of credentials that were refused; an IAM user's keys may have changed in the on-premises file."""
        if self.handoff.identity.kind == "iam-user":
            from agent.identity.on_premises_file import load_on_premises  # only when keys were refused

            try:
                found = load_on_premises(self.settings.on_premises_config_file)
            except AgentError:
                found = None  # it is being written: the supervisor hands over the new keys later
            if found is not None:
                self.credentials.replace(found)
        self.credentials.forget()

    def signer_policy(self) -> SignerPolicy:
        """Whose signature on a deployment specification counts."""
        from agent.trust.policy import SignerPolicy

        prints = self.settings.deployment_signer_fingerprints
        return SignerPolicy(self.settings.deployment_signer_ca_file, tuple(prints))

    def host(self, observer: Observer) -> Host:
        """This host as commands see it."""
        directory = WORKING_DIRECTORY if os.path.isdir(WORKING_DIRECTORY) else "/"
        host = Host(self.settings, self.layout, directory, observer=observer, remote=self._fetch_options)
        return host._replace(traffic=self._access, core_limit=self.handoff.core_limit)

    def _fetch_options(self) -> FetchOptions:
        from agent.runtime.remote import fetch_options  # only DownloadBundle needs it

        identity = self.handoff.identity
        return fetch_options(self.settings, self.http, credentials=self.credentials.current, region=identity.region)

    def _access(self, _: Policy) -> BalancerAccess:
        from agent.runtime.traffic_access import access_of  # only a group under traffic_control needs it

        return access_of(self.settings, self.handoff.identity, self.credentials.current)

    def supervisor_is_gone(self) -> bool:
        """Whether no supervisor looks after this host now."""
        path = self.handoff.supervisor_lock
        try:
            return not path or FileLock.holder(path) is None
        except OSError:
            return False
