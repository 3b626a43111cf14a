"""The way to S3 and GitHub: for the agent with the host's own credentials, for the local command with its caller's."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from agent.bundle.fetch import GITHUB, FetchOptions
from agent.config.settings import Settings
from agent.deployment.spec import Revision, S3Revision
from agent.errors import AgentError
from agent.network.credentials import Credentials
from agent.network.http import HttpClient

if TYPE_CHECKING:
    from agent.identity.on_premises import OnPremises

FALLBACK_REGION = "us-east-1"
"""Asked where no region is known; it answers with the bucket's own, which is then asked."""

_log = logging.getLogger(__name__)


class NoCredentialsError(AgentError):
    """What names the caller's credentials cannot be used."""


def fetch_options(
    settings: Settings,
    http: HttpClient,
    *,
    credentials: Callable[[], Credentials] | None,
    region: str,
    s3_endpoint: str | None = None,
) -> FetchOptions:
    """How bundles are fetched with these settings; ``s3_endpoint`` counts where the settings name none."""
    return FetchOptions(
        http,
        credentials,
        region,
        s3_endpoint=settings.s3_endpoint_override or s3_endpoint,
        fips=settings.use_fips_mode,
        github_endpoint=settings.github_endpoint_override or GITHUB,
    )


def local_fetch_options(
    settings: Settings, revision: Revision, *, http: HttpClient | None = None, region: str | None = None
) -> FetchOptions:
    """Return how a person's command on this host fetches a bundle or a release.

    Credentials and region come from where the AWS tools take them (environment, profile, container), then from the
    on-premises file, then from the instance; ``region`` counts before all of these. Raises NoCredentialsError,
    IdentityError, NetworkError.
    """
    from agent.runtime.connections import make_http

    http = http or make_http(settings)
    if not isinstance(revision, S3Revision):
        return fetch_options(settings, http, credentials=None, region="")
    on_premises = _on_premises(settings)
    session = _session(chain_ends_here=on_premises is not None)
    region = region or _known_region(session, on_premises, os.environ) or _region_of_instance(settings, http)
    credentials = _of_session(session)
    if credentials is None and on_premises is not None:
        credentials = _of_file(on_premises, settings, http)
    endpoint = _s3_endpoint(os.environ)
    return fetch_options(settings, http, credentials=credentials, region=region, s3_endpoint=endpoint)


def _on_premises(settings: Settings) -> OnPremises | None:
    from agent.identity.on_premises_file import load_on_premises

    path = settings.on_premises_config_file
    # An ordinary user may not read the host's file, and has credentials of their own.
    if not os.access(path, os.R_OK):
        return None
    return load_on_premises(path)


def _session(*, chain_ends_here: bool) -> Any:  # noqa: ANN401 - botocore has no types
    """The AWS tools' own view of environment and profile; without the instance's role where a file stands for it."""
    import botocore.session  # type: ignore[import-untyped]  # slow to import, and only needed for S3

    session = botocore.session.Session()
    if chain_ends_here:
        session.get_component("credential_provider").remove("iam-role")
    return session


def _of_session(session: Any) -> Callable[[], Credentials] | None:  # noqa: ANN401
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

    try:
        found = session.get_credentials()
    except BotoCoreError as error:
        raise _unusable(error) from error
    if found is None:
        return None
    _log.info("The credentials are those of %s", found.method)

    def current() -> Credentials:
        try:
            frozen = found.get_frozen_credentials()
        except BotoCoreError as error:
            raise _unusable(error) from error
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    return current


def _unusable(error: Exception) -> NoCredentialsError:
    return NoCredentialsError(
        f"The AWS credentials cannot be used: {error}.",
        remedy="Check AWS_PROFILE, ~/.aws/config and ~/.aws/credentials.",
    )


def _of_file(on_premises: OnPremises, settings: Settings, http: HttpClient) -> Callable[[], Credentials]:
    from agent.identity.credentials import CredentialSource
    from agent.identity.identity import HostIdentity
    from agent.runtime.connections import make_metadata

    _log.info("The credentials are those of %s", on_premises.path)
    identity = HostIdentity(on_premises.arn, on_premises.region, kind=on_premises.kind, source=on_premises.path)
    return CredentialSource(identity, on_premises, make_metadata(settings, http)).current


def _known_region(session: Any, on_premises: OnPremises | None, environment: Mapping[str, str]) -> str:  # noqa: ANN401
    from botocore.exceptions import BotoCoreError

    try:
        profile = session.get_config_variable("region")
    except BotoCoreError as error:
        raise _unusable(error) from error
    return str(environment.get("AWS_REGION") or profile or (on_premises.region if on_premises else ""))


def _region_of_instance(settings: Settings, http: HttpClient) -> str:
    """Return the region of this EC2 instance; on another host the one that knows where each bucket is."""
    from agent.identity.errors import IdentityError
    from agent.runtime.connections import make_metadata

    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true":
        try:
            return make_metadata(settings, http).document().region
        except IdentityError as error:
            _log.debug("The region of the instance is unknown: %s", error)
    _log.info("The region is unknown (AWS_REGION): %s is asked for the region of the bucket", FALLBACK_REGION)
    return FALLBACK_REGION


def _s3_endpoint(environment: Mapping[str, str]) -> str | None:
    if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    return environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or None
