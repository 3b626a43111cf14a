"""What can go wrong with the command service: errors by kind, each with its remedy."""

from __future__ import annotations

from enum import Enum

from agent.errors import AgentError, ConfigError


class ServiceErrorKind(Enum):
    """What an error of the service means for whoever called it."""

    THROTTLED = "throttled"
    CREDENTIALS = "credentials"
    CLOCK = "clock"
    CLIENT = "client"
    SERVER = "server"
    PROTOCOL = "protocol"


class ServiceConfigError(ConfigError):
    """The endpoint that the settings ask for does not exist or must not be used."""


class ServiceError(AgentError):
    """The service refused a request, failed, or answered what cannot be understood.

    ``service_code`` is the name of the error on the wire, empty if it gave none; ``service_message`` its text;
    ``status`` the HTTP status, 0 where none came.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ServiceErrorKind,
        service_code: str = "",
        service_message: str = "",
        status: int = 0,
        remedy: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.kind = kind
        self.service_code = service_code
        self.service_message = service_message
        self.status = status
        self.passing = kind in (ServiceErrorKind.THROTTLED, ServiceErrorKind.SERVER)


class ProtocolError(ServiceError):
    """The service's answer, or what we were about to send, is not what the protocol says."""

    def __init__(self, message: str, *, status: int = 0, remedy: str = "") -> None:
        super().__init__(message, kind=ServiceErrorKind.PROTOCOL, status=status, remedy=remedy)
