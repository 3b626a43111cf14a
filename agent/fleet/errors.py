"""What can go wrong while the agent is installed, removed, registered or deregistered."""

from __future__ import annotations

from agent.errors import AgentError, UsageError


class FleetError(AgentError):
    """The agent could not be installed, removed, registered or deregistered."""


class SourceError(FleetError):
    """The wheelhouse cannot be fetched, or is not the one whose SHA-256 was given."""


class OfficialAgentError(FleetError):
    """An installed official agent is in the way, and was not to be taken over, or could not be."""


class RegistrationError(FleetError):
    """The on-premises registration was refused, or would replace another one."""


class SourceUsageError(SourceError, UsageError):
    """The options do not name a wheelhouse and its SHA-256."""


class RegistrationUsageError(RegistrationError, UsageError):
    """The options do not say who this host is, or hold a value that the service never takes."""
