"""Where the command service is: its URL, and the names that a request is signed with."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from agent.network.partitions import DOMAINS, domain_of
from agent.network.proxies import is_loopback
from agent.service.errors import ServiceConfigError
from agent.service.shapes import load_model

FIPS_REGIONS = ("us-east-1", "us-east-2", "us-west-1", "us-west-2", "us-gov-east-1", "us-gov-west-1")
"""Where the command service has FIPS endpoints, by the CodeDeploy user guide and the official agent 2.1.0."""

_REGION = re.compile(r"[a-z]{2,8}(-[a-z0-9]{1,20}){1,5}")


class EndpointOptions(NamedTuple):
    """What decides on the endpoint; ``domain`` (from instance metadata) wins over the region's usual one.

    ``secure`` is the setting ``enable_auth_policy``, ``override`` a URL in the place of all the rest.
    """

    region: str
    domain: str = ""
    secure: bool = False
    fips: bool = False
    override: str | None = None


class Endpoint(NamedTuple):
    """A URL, and what else is part of every request to it."""

    url: str
    signing_name: str
    target_prefix: str
    region: str


def endpoint_for(options: EndpointOptions) -> Endpoint:
    """Return the endpoint of the command service.

    Plain http is for loopback only: a pinned signer shows who made a deployment, and not for which command it was
    sent, so on an open line old ones could be sent again. Raises ServiceConfigError.
    """
    if not _REGION.fullmatch(options.region):
        raise ServiceConfigError(
            f"{options.region!r} is not the name of a region.",
            remedy="Correct the region in the on-premises file or in AWS_REGION, such as eu-central-1.",
        )
    metadata = load_model(secure=options.secure)["metadata"]
    if options.override:
        url = _checked_override(options.override)
    else:
        url = _computed(options, str(metadata["endpointPrefix"]))
    return Endpoint(url, str(metadata["signingName"]), str(metadata["targetPrefix"]), options.region)


def _computed(options: EndpointOptions, prefix: str) -> str:
    if options.fips and options.region not in FIPS_REGIONS:
        raise ServiceConfigError(
            f"CodeDeploy has no FIPS endpoint in {options.region}.",
            remedy=f"Set use_fips_mode to false; FIPS endpoints are in {', '.join(FIPS_REGIONS)}.",
        )
    domain = options.domain or domain_of(options.region)
    # It may come from instance metadata, which anybody on the link can answer.
    if domain not in DOMAINS:
        raise ServiceConfigError(
            f"{domain!r} is not the domain of a partition of AWS that this agent knows.",
            remedy="Instance metadata answers it. In a new partition, set deploy_control_endpoint.",
        )
    return f"https://{prefix}{'-fips' if options.fips else ''}.{options.region}.{domain}/"


def _checked_override(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and parts.port != 0 and parts.scheme in ("http", "https")
    except ValueError:
        parts, usable = urlsplit(""), False
    # The text is not repeated where it may hold a password.
    if not usable or parts.username is not None or parts.query or parts.fragment:
        raise ServiceConfigError(
            "The control endpoint is not of the form https://host[:port].", remedy="Correct deploy_control_endpoint."
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ServiceConfigError(
            f"The control endpoint {text} is plain http to another host: a host on the way could have this one run"
            " commands and hide its results, also with old messages of a pinned signer.",
            remedy="Use https in deploy_control_endpoint; ca_bundle names the authority of a certificate of your own.",
        )
    return text.rstrip("/") + "/"
