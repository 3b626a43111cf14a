"""What can go wrong while the agent finds out who its host is and which credentials it has."""

from __future__ import annotations

from agent.errors import AgentError, ProblemsError


class IdentityError(AgentError):
    """The host's identity cannot be found; unless it is ``passing``, only a person can change that."""

    passing = True

    def __init__(self, message: str, *, remedy: str = "", passing: bool = True) -> None:
        super().__init__(message, remedy=remedy)
        self.passing = passing and type(self).passing


class OnPremisesError(ProblemsError, IdentityError):
    """The on-premises configuration file has problems; all of them are listed with their lines."""

    heading = "problems were found in the on-premises configuration file"
    passing = False


class MetadataError(IdentityError):
    """The instance metadata service gives no answer, or one that cannot be right."""


class NotFoundError(MetadataError):
    """The instance metadata service answers that there is no such thing."""


class CredentialsError(IdentityError):
    """There are no credentials that could be used now."""
