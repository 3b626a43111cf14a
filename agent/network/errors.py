"""What can go wrong between this host and another one."""

from __future__ import annotations

from enum import Enum

from agent.errors import AgentError


class NetworkReason(Enum):
    """Where a request failed, for callers that decide by it; the message is for people."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    PROXY = "proxy"
    TIMEOUT = "timeout"
    BROKEN = "broken"
    TOO_LARGE = "too-large"


class NetworkError(AgentError):
    """A request that brought no whole answer; the message names the host, never credentials.

    It passes unless its reason or ``passing`` says otherwise.
    """

    def __init__(self, message: str, *, reason: NetworkReason, remedy: str = "", passing: bool = True) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason
        self.passing = passing and reason not in (NetworkReason.TLS, NetworkReason.TOO_LARGE)
