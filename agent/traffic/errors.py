"""Why a load balancer could not be asked, or did not do what it was asked for."""

from __future__ import annotations

from agent.errors import AgentError


class TrafficError(AgentError):
    """Traffic could not be moved, or it must not be.

    ``gone`` says that the place does not exist any more; ``service_code`` is the AWS code, empty where there is none.
    """

    def __init__(
        self, message: str, *, remedy: str = "", passing: bool = False, gone: bool = False, service_code: str = ""
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.passing = passing
        self.gone = gone
        self.service_code = service_code


class LastHealthyError(TrafficError):
    """Too few other hosts would be left in service."""


class NeverHealthyError(TrafficError):
    """The host was put back, and a balancer does not find it healthy."""
