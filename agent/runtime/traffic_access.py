"""How load balancers are reached: by a worker with the host's credentials, by the local command with its caller's."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.config.settings import Settings
from agent.errors import AgentError
from agent.network.credentials import Credentials
from agent.traffic.policy import Policy
from agent.traffic.provider import BalancerAccess

if TYPE_CHECKING:
    from agent.identity.identity import HostIdentity


def access_of(
    settings: Settings, identity: HostIdentity, credentials: Callable[[], Credentials] | None
) -> BalancerAccess:
    """How balancers are reached by a host with this identity."""
    is_instance = identity.kind == "ec2"
    return BalancerAccess(
        credentials,
        region=identity.region,
        instance_id=identity.host_identifier.rsplit("/", 1)[-1] if is_instance else "",
        proxy=settings.proxy_uri,
        ca_bundle=settings.ca_bundle,
    )


def local_access(settings: Settings, policy: Policy) -> BalancerAccess:
    """How balancers are reached on behalf of a person at this host.

    The credentials are those of the AWS tools (environment, profile, role); where they have none, those of the
    on-premises file. Raises IdentityError for a file that cannot be used.
    """
    if not any(config["type"] in ("elb", "elbv2") for config in policy.providers):
        return BalancerAccess()
    from agent.identity.identity import HostIdentity, find_identity  # HAProxy needs no HTTP, nor do the next two
    from agent.identity.on_premises_file import load_on_premises
    from agent.runtime.connections import make_http, make_metadata

    path = settings.on_premises_config_file
    on_premises = load_on_premises(path) if os.access(path, os.R_OK) else None
    http = make_http(settings)
    try:
        identity = find_identity(on_premises, make_metadata(settings, http), os.environ)
    except AgentError:
        # A machine that is not a host of CodeDeploy: region and instance are then to be in the provider's settings.
        identity = HostIdentity("", os.environ.get("AWS_REGION", ""), kind="environment")
    credentials: Callable[[], Credentials] | None = None
    if on_premises is not None and not _tools_have_credentials():
        from agent.identity.credentials import CredentialSource

        credentials = CredentialSource(identity, on_premises, make_metadata(settings, http)).current
    return access_of(settings, identity, credentials)


def _tools_have_credentials() -> bool:
    import boto3  # type: ignore[import-untyped]  # slow to import, and needed in a moment anyway

    return boto3.session.Session().get_credentials() is not None
