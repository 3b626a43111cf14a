"""Calling the Elastic Load Balancing services, with errors that say what to do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from agent.errors import AgentError
from agent.network.http import HttpClient, HttpOptions
from agent.traffic.errors import TrafficError
from agent.traffic.provider import BalancerAccess

CONNECT_LIMIT = 10
READ_LIMIT = 30

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


class BalancerApi:
    """A client of one service; it is made at the first call."""

    def __init__(self, service: str, config: Mapping[str, Any], access: BalancerAccess) -> None:
        self._service = service
        self._config = config
        self._access = access
        self._http = HttpClient(HttpOptions(proxy=access.proxy, ca_bundle=access.ca_bundle, environment=os.environ))

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - botocore has no types
        """Call an operation by its Python name, once. Raises TrafficError."""
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
        from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**arguments)
        except ClientError as error:
            raise self._explain(operation, error) from error
        except AgentError as error:
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

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401
        import botocore.session  # type: ignore[import-untyped]  # slow to import, and only needed here
        from botocore.config import Config  # type: ignore[import-untyped]

        from agent.network.sdk import make_session, send_through

        credentials = self._access.credentials
        session = make_session(credentials) if credentials is not None else botocore.session.Session()
        client = session.create_client(
            self._service,
            self._config.get("region") or self._access.region or None,
            endpoint_url=self._config.get("endpoint"),
            config=Config(retries={"total_max_attempts": 1}),  # the caller asks again, within its own limit
        )
        send_through(client, self._http, connect_timeout=CONNECT_LIMIT, read_timeout=READ_LIMIT)
        return client

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
