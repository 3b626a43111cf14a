"""Session tokens of instance metadata (IMDSv2): fetched, kept, renewed, and done without where that must be."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import NamedTuple

from agent.identity import names
from agent.identity.errors import MetadataError
from agent.network.errors import NetworkError, NetworkReason
from agent.network.http import HttpClient

TOKEN_SECONDS = 21600
"""How long a token is asked for: six hours, the most that EC2 grants."""

RENEW_BEFORE = 60.0
"""Seconds before a token's end at which a new one is fetched."""

WITHOUT_TOKEN_SECONDS = 60.0
"""How long questions are asked without a token after it was denied, before it is asked for again."""

LARGEST_ANSWER = 64 * 1024
"""Bytes; what is asked for has at most a few thousand."""

NOT_EC2 = "If this host is not an EC2 instance, give it an on-premises configuration file."

_TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
_NO_TOKENS = (403, 404, 405)
"""Statuses of a service that knows no tokens; the SDKs go by the same."""

_HOP_LIMIT = (
    "In a container this means that the hop limit is 1: aws ec2 modify-instance-metadata-options"
    " --http-put-response-hop-limit 2 --instance-id ID."
)


class Denial(NamedTuple):
    """Why there is no token."""

    message: str
    remedy: str

    def error(self) -> MetadataError:
        """Make an error of it, a new one each time, since a raised one keeps its traces."""
        return MetadataError(self.message, remedy=self.remedy)


class SessionTokens:
    """The current token of one metadata service; may be used by several threads."""

    def __init__(
        self, http: HttpClient, endpoint: str, *, allow_v1: bool, timeout: float, clock: Callable[[], float]
    ) -> None:
        self._http = http
        self._endpoint = endpoint
        self._allow_v1 = allow_v1
        self._timeout = timeout
        self._clock = clock
        self._lock = threading.Lock()
        self._token: str | None = None
        self._token_until = 0.0
        self._denial: Denial | None = None
        self._denial_until = 0.0

    @property
    def denial(self) -> Denial | None:
        """Why the last question was asked without a token; None if it had one."""
        return self._denial

    def current(self) -> tuple[str, None] | tuple[None, Denial]:
        """Return a token, or the reason why there is none and the question may be asked without.

        Raises MetadataError where it must not be asked without, or the service cannot be reached.
        """
        with self._lock:
            now = self._clock()
            if self._token is not None and now < self._token_until:
                return self._token, None
            if self._denial is None or now >= self._denial_until:
                self._renew(now)
            if self._token is not None:
                return self._token, None
            assert self._denial is not None
            return None, self._denial

    def drop(self, token: str | None) -> None:
        """Forget a token that was refused, or, with None, that questions were asked without one."""
        with self._lock:
            if token is None:
                self._denial_until = 0.0
            elif self._token == token:
                self._token = None

    def _renew(self, now: float) -> None:
        self._token = None
        found = self._fetch(now)
        if isinstance(found, str):
            self._token, self._denial = found, None
            return
        if not self._allow_v1:
            raise found.error()
        self._denial, self._denial_until = found, now + WITHOUT_TOKEN_SECONDS

    def _fetch(self, now: float) -> str | Denial:
        try:
            response = self._http.request(
                "PUT",
                f"{self._endpoint}/latest/api/token",
                headers={_TTL_HEADER: str(TOKEN_SECONDS)},
                connect_timeout=self._timeout,
                read_timeout=self._timeout,
                proxied=False,
            )
            with response:
                token = response.read(LARGEST_ANSWER).decode("ascii", "replace")
        except NetworkError as error:
            if error.reason is not NetworkReason.TIMEOUT:
                raise MetadataError(f"Instance metadata cannot be reached: {error.message}", remedy=NOT_EC2) from error
            text = f"Instance metadata at {self._endpoint} does not answer the request for a token."
            return Denial(text, f"{_HOP_LIMIT} {NOT_EC2}")
        if response.status in _NO_TOKENS:
            return Denial(f"Instance metadata at {self._endpoint} gives no token (status {response.status}).", NOT_EC2)
        if response.status != 200 or not names.is_key(token):
            raise MetadataError(
                f"Instance metadata at {self._endpoint} answers the request for a token with status {response.status}"
                + (" and something that is not a token." if response.status == 200 else "."),
                remedy="That passes where it is EC2's; else check what answers at that address.",
            )
        granted = response.headers.get(_TTL_HEADER, "")
        seconds = int(granted) if re.fullmatch(r"[0-9]{1,5}", granted) else TOKEN_SECONDS
        self._token_until = now + max(min(seconds, TOKEN_SECONDS) - RENEW_BEFORE, 1.0)
        return token
