"""Calling the Elastic Load Balancing services, with errors that say what to do."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from typing import Any

from agent.errors import AgentError
from agent.network.credentials import Credentials
from agent.network.errors import NetworkError
from agent.network.http import HttpClient, HttpOptions
from agent.traffic.errors import TrafficError
from agent.traffic.provider import Access

CONNECT_LIMIT = 10
READ_LIMIT = 30
LARGEST_ANSWER = 16 * 1024 * 1024

_PASSING = (
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "ServiceUnavailable",
    "InternalFailure",
    "InternalError",
    "RequestTimeout",
    "ExpiredToken",
    "ExpiredTokenException",
    "PriorRequestNotComplete",
)
_GONE = ("TargetGroupNotFound", "LoadBalancerNotFound", "AccessPointNotFound")
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


class Api:
    """A client of one service; it is made at the first call, and again when the credentials have changed."""

    def __init__(self, service: str, config: Mapping[str, Any], access: Access) -> None:
        self._service = service
        self._config = config
        self._access = access
        self._made_for: Credentials | None = None
        self._client: Any = None
        self._http = HttpClient(HttpOptions(proxy=access.proxy, ca_bundle=access.ca_bundle, environment=os.environ))

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - botocore has no types
        """Call an operation by its Python name, once. Raises TrafficError."""
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
        from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

        try:
            answer: dict[str, Any] = getattr(self._made_client(), operation)(**arguments)
        except ClientError as error:
            raise self._explain(operation, error) from error
        except NetworkError as error:
            raise TrafficError(
                f"{self._service} {operation}: {error.message}", remedy=error.remedy, passing=True
            ) from error
        except (BotoCoreError, ResponseParserError) as error:
            # What never left this host (no region, no credentials) is no better a moment later.
            passing = not type(error).__name__.startswith(("No", "Partial", "Param", "Unknown"))
            raise TrafficError(
                f"{self._service} {operation}: {error}.",
                remedy="Check the region and the credentials of this host.",
                passing=passing,
            ) from error
        return answer

    def pages(self, operation: str, result: str, **arguments: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        """Everything that an operation lists, page after page. Raises TrafficError."""
        found: list[dict[str, Any]] = []
        marker: dict[str, str] = {}
        while True:
            answer = self.call(operation, **arguments, **marker)
            found += answer.get(result, [])
            if not answer.get("NextMarker"):
                return found
            marker = {"Marker": answer["NextMarker"]}

    def _made_client(self) -> Any:  # noqa: ANN401
        try:
            credentials = self._access.credentials() if self._access.credentials else None
        except AgentError as error:
            raise TrafficError(error.message, remedy=error.remedy, passing=True) from error
        if self._client is None or credentials != self._made_for:
            self._client = self._make(credentials)
            self._made_for = credentials
        return self._client

    def _make(self, credentials: Credentials | None) -> Any:  # noqa: ANN401
        import boto3  # type: ignore[import-untyped]  # slow to import, and only needed here
        from botocore.config import Config  # type: ignore[import-untyped]

        keys = {}
        if credentials is not None:
            keys = {"aws_access_key_id": credentials.access_key, "aws_secret_access_key": credentials.secret_key}
            keys |= {"aws_session_token": credentials.token} if credentials.token else {}
        client = boto3.session.Session().client(
            self._service,
            region_name=self._config.get("region") or self._access.region or None,
            endpoint_url=self._config.get("endpoint"),
            config=Config(retries={"total_max_attempts": 1}),  # the caller asks again, within its own limit
            **keys,
        )
        client.meta.events.register("before-send", self._send)
        return client

    def _send(self, request: Any, **_: Any) -> Any:  # noqa: ANN401
        """Send botocore's request as the agent sends its own: an answer has a deadline in all."""
        from botocore.awsrequest import AWSResponse  # type: ignore[import-untyped]

        with self._http.request(
            request.method,
            request.url,
            headers=dict(request.headers.items()),
            body=request.body or b"",
            connect_timeout=CONNECT_LIMIT,
            read_timeout=READ_LIMIT,
        ) as response:
            body = response.read(LARGEST_ANSWER)
            return AWSResponse(request.url, response.status, response.headers, _Body(body))

    def _explain(self, operation: str, error: Any) -> TrafficError:  # noqa: ANN401
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        text = str(error.response.get("Error", {}).get("Message", ""))
        remedy = "See docs/traffic.md for the permissions that this needs." if code in _DENIED else ""
        return TrafficError(
            f"{self._service} {operation}: {code}: {text}",
            remedy=remedy,
            passing=code in _PASSING or status >= 500,
            gone=code in _GONE,
            service_code=code,
        )


class _Body(io.BytesIO):
    """A body that was read, as botocore takes it."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()
