"""The host as the checks see it: each fact is found out once, whichever check asks first."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

from agent.config.file import Loaded, load, load_usable
from agent.config.settings import Settings
from agent.doctor.finding import SkipError
from agent.errors import AgentError, ConfigError
from agent.fleet.places import Places
from agent.network.errors import NetworkError, NetworkReason
from agent.network.proxies import Proxy, proxy_for
from agent.runtime.host import layout_of
from agent.store.layout import Layout

if TYPE_CHECKING:
    from agent.identity.credentials import CredentialSource
    from agent.identity.identity import HostIdentity
    from agent.identity.metadata import InstanceMetadata
    from agent.identity.on_premises import OnPremisesFile
    from agent.network.http import HttpClient
    from agent.service.endpoint import Endpoint

Fact = TypeVar("Fact")

NETWORK_TIMEOUT = 4.0
"""Seconds for each step of a request, and for the whole answer: a host that is well needs a tenth of it."""

LARGEST_ANSWER = 64 * 1024

ANY_REGION = "us-east-1"
"""Where the settings name the endpoint, the region of a host whose identity is unknown does not matter."""


class Answer(NamedTuple):
    """The answer to a request without a signature; ``ahead`` tells how many seconds this host's clock is ahead."""

    url: str
    status: int
    seconds: float
    ahead: float | None
    body: str


class Subject:
    """One host, with its configuration, identity and network; for several threads.

    ``environment`` is the running agent's where it can be read, else this process's. ``places`` leads to the files of
    the host. What a fact raises, it raises to each check that asks.
    """

    def __init__(
        self,
        config_file: str | None = None,
        *,
        places: Places | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.config_file = config_file
        self.places = places or Places()
        self._environment = environment
        self._facts: dict[object, Any] = {}
        self._locks: dict[object, threading.Lock] = {}
        self._guard = threading.Lock()
        self.settings: Settings = load_usable(config_file)[0]
        self.layout: Layout = layout_of(self.settings)

    def once(self, key: object, find: Callable[[], Fact]) -> Fact:
        """Return a fact, or raise the error that finding it out has raised; it is found out once."""
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._facts:
                try:
                    self._facts[key] = find()
                except Exception as error:  # noqa: BLE001 - raised below, here and to later callers
                    self._facts[key] = error
        found = self._facts[key]
        if isinstance(found, Exception):
            raise found
        return cast(Fact, found)

    @property
    def loaded(self) -> Loaded:
        """The configuration file. Raises ConfigError with every problem in it."""
        return self.once("loaded", lambda: load(self.config_file))

    @property
    def pid(self) -> int | None:
        """The running agent. Raises PidFileError where this user cannot tell."""
        from agent.daemon.pidfile import running_pid

        return self.once("pid", lambda: running_pid(self.settings.pid_dir))

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that the agent has: proxies, certificates and identity depend on them."""
        return self.once("environment", self._find_environment)

    def _find_environment(self) -> Mapping[str, str]:
        if self._environment is not None:
            return self._environment
        try:
            with open(f"/proc/{self.pid}/environ", "rb") as file:
                pairs = (entry.partition(b"=") for entry in file.read().split(b"\0") if entry)
                return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
        except (AgentError, OSError):
            return os.environ

    @property
    def http(self) -> HttpClient:
        """A client with the agent's proxies and certificates."""
        return self.once("http", self._make_http)

    def _make_http(self) -> HttpClient:
        from agent.network.http import HttpClient, HttpOptions

        settings = self.settings
        return HttpClient(
            HttpOptions(proxy=settings.proxy_uri, ca_bundle=settings.ca_bundle, environment=self.environment)
        )

    @property
    def metadata(self) -> InstanceMetadata:
        """Instance metadata. Raises IdentityError where the environment names a wrong place."""
        return self.once("metadata", self._make_metadata)

    def _make_metadata(self) -> InstanceMetadata:
        from agent.identity.metadata import InstanceMetadata, metadata_endpoint

        endpoint = metadata_endpoint(self.environment)
        return InstanceMetadata(self.http, endpoint=endpoint, allow_v1=not self.settings.disable_imds_v1)

    @property
    def on_premises(self) -> OnPremisesFile:
        """The on-premises file. Raises IdentityError where it cannot be used."""
        from agent.identity.on_premises_file import read_on_premises

        return self.once("on-premises", lambda: read_on_premises(self.settings.on_premises_config_file))

    @property
    def identity(self) -> HostIdentity:
        """Who this host is. Raises IdentityError."""
        from agent.identity.identity import find_identity

        return self.once(
            "identity", lambda: find_identity(self.on_premises.on_premises, self.metadata, self.environment)
        )

    @property
    def known_identity(self) -> HostIdentity:
        """The identity for checks that depend on it. Raises SkipError where it is unknown."""
        try:
            return self.identity
        except (AgentError, OSError) as error:
            raise SkipError("The identity of this host is unknown: see the check identity.") from error

    @property
    def credentials(self) -> CredentialSource:
        """The source of the credentials."""
        return self.once("credentials", self._make_credentials)

    def _make_credentials(self) -> CredentialSource:
        from agent.identity.credentials import CredentialSource

        return CredentialSource(self.known_identity, self.on_premises.on_premises, self.metadata)

    @property
    def endpoint(self) -> Endpoint:
        """The command service's endpoint. Raises ServiceConfigError, SkipError."""
        return self.once("endpoint", self._find_endpoint)

    def _find_endpoint(self) -> Endpoint:
        from agent.service.endpoint import EndpointOptions, endpoint_for

        settings, override = self.settings, self.settings.deploy_control_endpoint
        try:
            region, domain = self.known_identity.region, self.known_identity.domain
        except SkipError:
            if not override:
                raise
            region, domain = ANY_REGION, ""  # the way to the service can be looked at all the same
        secure, fips = settings.enable_auth_policy, settings.use_fips_mode
        return endpoint_for(EndpointOptions(region, domain, secure=secure, fips=fips, override=override))

    @property
    def known_endpoint(self) -> Endpoint:
        """The endpoint for checks that depend on it. Raises SkipError where there is none."""
        try:
            return self.endpoint
        except ConfigError as error:
            raise SkipError("The endpoint of the service is unknown: see the check endpoint.") from error

    @property
    def s3_url(self) -> str:
        """The address of S3 in this host's region. Raises SkipError where the region is unknown."""
        if self.settings.s3_endpoint_override:
            return self.settings.s3_endpoint_override
        from agent.network.partitions import domain_of

        region = self.known_identity.region
        fips = "-fips" if self.settings.use_fips_mode else ""
        return f"https://s3{fips}.{region}.{self.known_identity.domain or domain_of(region)}"

    @property
    def github_url(self) -> str:
        """The address of GitHub, or of what replaces it."""
        return self.settings.github_endpoint_override or "https://api.github.com"

    def proxy_of(self, url: str) -> Proxy | None:
        """Return the proxy that the agent uses for an address. Raises NetworkError for one that cannot be."""
        parts = urlsplit(url)
        return proxy_for(
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=parts.port or (443 if parts.scheme == "https" else 80),
            setting=self.settings.proxy_uri,
            environment=self.environment,
        )

    def resolve(self, host: str) -> list[str]:
        """Return the addresses of a name. Raises NetworkError, also where no name server answers in time."""
        return self.once(("name", host), lambda: _resolved(host))

    def ask(self, url: str) -> Answer:
        """Send one request without a signature; any status is an answer. Raises NetworkError."""
        return self.once(("answer", url), lambda: self._ask(url))

    def _ask(self, url: str) -> Answer:
        from agent.service.replies import clock_skew

        proxy = self.proxy_of(url)
        self.resolve(urlsplit(proxy.url if proxy else url).hostname or "")
        began = time.monotonic()
        with self.http.request("GET", url, connect_timeout=NETWORK_TIMEOUT, read_timeout=NETWORK_TIMEOUT) as response:
            seconds = time.monotonic() - began
            ahead = clock_skew(response.headers, time.time())
            try:
                body = response.read(LARGEST_ANSWER).decode("utf-8", "replace")
            except NetworkError:
                body = ""
            return Answer(url, response.status, seconds, ahead, body)


def _resolved(host: str) -> list[str]:
    """Look a name up in a thread of its own: no timeout reaches the C library's resolver."""
    found: list[list[str] | OSError] = []

    def look_up() -> None:
        try:
            rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found.append(list(dict.fromkeys(str(row[4][0]) for row in rows)))
        except (OSError, UnicodeError) as error:
            found.append(error if isinstance(error, OSError) else OSError(str(error)))

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(NETWORK_TIMEOUT)
    if found and isinstance(found[0], list):
        return found[0]
    late = f"the name servers did not answer within {NETWORK_TIMEOUT:g} s"
    reason = late if not found else str(getattr(found[0], "strerror", "") or found[0]).rstrip(".")
    raise NetworkError(
        f"The name {host} cannot be looked up: {reason}.",
        reason=NetworkReason.DNS,
        remedy="Check the spelling, the region, and that the name servers in /etc/resolv.conf answer.",
    )
