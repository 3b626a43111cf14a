"""The connections to the services, made from the settings; for the supervisor and its workers alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from agent import __version__
from agent.config.settings import Settings
from agent.filesystem.rotating import RotatingFile
from agent.identity.identity import HostIdentity
from agent.identity.metadata import InstanceMetadata, metadata_endpoint
from agent.network.credentials import Credentials
from agent.network.http import PORTS, HttpClient, HttpOptions, MinimumRate
from agent.network.proxies import proxy_for
from agent.network.tls import trusted_file
from agent.network.wire_log import WireLog
from agent.runtime.host import layout_of
from agent.service.client import CommandService
from agent.service.endpoint import EndpointOptions, endpoint_for
from agent.service.throttle import ThrottleGate

WIRE_LOGS_KEPT = 16


def make_http(settings: Settings) -> HttpClient:
    """An HTTP client with the proxy, the certificates and the wire log that the settings ask for."""
    options = HttpOptions(
        proxy=settings.proxy_uri,
        ca_bundle=settings.ca_bundle,
        environment=os.environ,
        user_agent=f"codedeploy-host-agent/{__version__}",
        minimum_rate=MinimumRate(settings.download_minimum_rate),
        endpoints=_endpoints(settings),
    )
    return HttpClient(options, wire_log=_wire_log(settings) if settings.log_aws_wire else None)


class Route(NamedTuple):
    """How a service is reached, as phrases without secrets."""

    proxy: str
    certificates: str


def describe_route(settings: Settings, url: str) -> Route:
    """Return how the service at this URL is reached, for a log. Raises NetworkError for a proxy that cannot be."""
    parts = urlsplit(url)
    proxy = proxy_for(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=parts.port or PORTS[parts.scheme],
        setting=settings.proxy_uri,
        environment=os.environ,
    )
    trusted = trusted_file(settings.ca_bundle, os.environ)
    return Route(
        f"through the proxy {proxy.place}" if proxy else "without a proxy",
        f"trusting the certificates in {trusted.path} ({trusted.origin})"
        if trusted
        else "trusting the system's certificates",
    )


def _endpoints(settings: Settings) -> dict[str, str]:
    """Return the setting that names each ``host:port``, for messages."""
    try:
        parts = urlsplit(settings.deploy_control_endpoint or "")
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:  # which is refused where the endpoint is used
        return {}
    return {f"{parts.hostname}:{port}": "deploy_control_endpoint"} if parts.hostname else {}


def _wire_log(settings: Settings) -> WireLog:
    path = os.path.join(settings.log_dir, f"{settings.program_name}.aws_wire.log")
    # 0640 whatever the settings say: what was asked of AWS and answered is nobody else's business.
    return WireLog(RotatingFile(path, mode=0o640, kept=WIRE_LOGS_KEPT).write)


def make_metadata(settings: Settings, http: HttpClient) -> InstanceMetadata:
    """The instance metadata service of this host. Raises IdentityError where the environment names a wrong one."""
    return InstanceMetadata(http, endpoint=metadata_endpoint(os.environ), allow_v1=not settings.disable_imds_v1)


def make_service(
    settings: Settings, identity: HostIdentity, credentials: Callable[[], Credentials], http: HttpClient
) -> CommandService:
    """The command service of this host's region.

    Raises ServiceConfigError where the settings name an endpoint that cannot be.
    """
    endpoint = endpoint_for(
        EndpointOptions(
            region=identity.region,
            domain=identity.domain,
            secure=settings.enable_auth_policy,
            fips=settings.use_fips_mode,
            override=settings.deploy_control_endpoint,
        )
    )
    gate = ThrottleGate(os.path.join(layout_of(settings).state, "throttle"))
    return CommandService(
        endpoint, credentials=credentials, http=http, read_timeout=settings.http_read_timeout, gate=gate
    )
