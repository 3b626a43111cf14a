"""What EC2 tells an instance about itself, asked with a session token (IMDSv2) wherever that is possible."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote

from agent.identity import names
from agent.identity.errors import CredentialsError, IdentityError, MetadataError, NotFoundError
from agent.identity.replies import (
    InstanceDocument,
    parse_credentials,
    parse_document,
    parse_role_name,
    shown,
)
from agent.identity.tokens import LARGEST_ANSWER, NOT_EC2, SessionTokens
from agent.network.credentials import Credentials
from agent.network.errors import NetworkError
from agent.network.http import HttpClient
from agent.network.partitions import DOMAINS

_log = logging.getLogger(__name__)

DEFAULT_ENDPOINT = "http://169.254.169.254"
IPV6_ENDPOINT = "http://[fd00:ec2::254]"


def metadata_endpoint(environment: Mapping[str, str]) -> str:
    """Find out where instance metadata is asked for.

    AWS_EC2_METADATA_SERVICE_ENDPOINT names a URL, AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE=IPv6 chooses EC2's address of
    that kind, as with the SDKs. Raises IdentityError for anything else in them.
    """
    named = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").strip()
    if named:
        if not re.fullmatch(r"https?://[^/\s@]+(/[!-~]*)?", named):
            raise IdentityError(
                "AWS_EC2_METADATA_SERVICE_ENDPOINT is not a URL of the form http://host[:port][/path].",
                remedy=f"Write it like {DEFAULT_ENDPOINT}, or unset it.",
                passing=False,
            )
        return named.rstrip("/")
    mode = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").strip().lower()
    return IPV6_ENDPOINT if mode == "ipv6" else DEFAULT_ENDPOINT


class InstanceMetadata:
    """The instance metadata service, each question asked once; trying again is the caller's job.

    May be used by several threads. ``timeout`` bounds, in seconds, connecting and each wait for an answer. No proxy is
    ever used. ``clock`` is monotonic.
    """

    def __init__(
        self,
        http: HttpClient,
        *,
        endpoint: str = DEFAULT_ENDPOINT,
        allow_v1: bool = True,
        timeout: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._http = http
        self._timeout = timeout
        self._tokens = SessionTokens(http, self.endpoint, allow_v1=allow_v1, timeout=timeout, clock=clock)
        self._warned = False

    @property
    def version(self) -> str:
        """Tell how the last question was asked: IMDSv2 with a token, or IMDSv1 without."""
        return "IMDSv1" if self._tokens.denial else "IMDSv2"

    def document(self) -> InstanceDocument:
        """Ask for account, instance id and region of this instance. Raises MetadataError."""
        return parse_document(self.get("dynamic/instance-identity/document"))

    def partition(self) -> str:
        """Ask for the partition, such as aws or aws-cn; aws where the service knows none. Raises MetadataError."""
        found = self._service("partition") or "aws"
        if not names.is_partition(found):
            raise MetadataError(f"Instance metadata says that the services' partition is {shown(found)}.")
        return found

    def domain(self) -> str:
        """Ask for the domain of the services, such as amazonaws.com; empty where it is not one that is known.

        Raises MetadataError.
        """
        found = self._service("domain")
        if found and found not in DOMAINS:
            # Who answers in the place of instance metadata must not choose where commands come from.
            _log.warning(
                "Instance metadata names the domain %s, which belongs to no partition of AWS that this agent knows. The"
                " usual domain of the region is used. In a new partition, set deploy_control_endpoint and"
                " s3_endpoint_override.",
                shown(found),
            )
            return ""
        return found

    def _service(self, name: str) -> str:
        try:
            return self.get(f"meta-data/services/{name}").strip()
        except NotFoundError:
            return ""

    def role_name(self) -> str:
        """Ask for the name of the role that is attached to this instance; empty for none. Raises MetadataError."""
        try:
            return parse_role_name(self.get("meta-data/iam/security-credentials/"))
        except NotFoundError:
            return ""

    def credentials(self) -> Credentials:
        """Ask for the credentials of the instance's role. Raises CredentialsError, MetadataError."""
        role = self.role_name()
        if not role:
            raise CredentialsError(
                "No IAM role is attached to this instance.",
                remedy="Attach an instance profile: aws ec2 associate-iam-instance-profile; then wait a minute.",
            )
        try:
            text = self.get(f"meta-data/iam/security-credentials/{quote(role)}")
        except NotFoundError as error:
            raise CredentialsError(
                f"EC2 has no credentials for the role {role} yet.", remedy="They come shortly after a role is attached."
            ) from error
        return parse_credentials(text, role=role)

    def get(self, path: str) -> str:
        """Ask for one text below ``latest/``. Raises NotFoundError, MetadataError."""
        token, denial = self._tokens.current()
        status, text = self._ask(path, token)
        if status == 401 and token is not None:
            # A token ends early when the instance was stopped or hibernated, or the clock stood still.
            self._tokens.drop(token)
            token, denial = self._tokens.current()
            status, text = self._ask(path, token)
        if status == 401 and denial is not None:
            self._tokens.drop(None)
            raise denial.error()
        self._judge(status, path)
        if denial is not None and not self._warned:
            self._warned = True
            _log.warning("Instance metadata is read without a token (IMDSv1). %s", denial.message)
        return text

    def _judge(self, status: int, path: str) -> None:
        if status == 404:
            raise NotFoundError(f"Instance metadata knows no {path}.")
        if status == 403:
            raise MetadataError(
                "Access to instance metadata is switched off for this instance (status 403).",
                remedy=(
                    f"Switch it on with: aws ec2 modify-instance-metadata-options --http-endpoint enabled. {NOT_EC2}"
                ),
            )
        if status != 200:
            raise MetadataError(
                f"Instance metadata at {self.endpoint} answers {path} with status {status}.",
                remedy="That passes where it is EC2's; else check what answers at that address.",
            )

    def _ask(self, path: str, token: str | None) -> tuple[int, str]:
        try:
            response = self._http.request(
                "GET",
                f"{self.endpoint}/latest/{path}",
                headers={"X-aws-ec2-metadata-token": token} if token is not None else {},
                connect_timeout=self._timeout,
                read_timeout=self._timeout,
                proxied=False,
            )
            with response:
                return response.status, response.read(LARGEST_ANSWER).decode("utf-8")
        except NetworkError as error:
            raise MetadataError(f"Instance metadata gives no answer: {error.message}", remedy=NOT_EC2) from error
        except UnicodeDecodeError as error:
            raise MetadataError(f"Instance metadata answers {path} with something that is not text.") from error
