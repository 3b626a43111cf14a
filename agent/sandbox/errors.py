"""What the sandbox answers when it refuses a call."""

from __future__ import annotations

from agent.errors import AgentError


class RefusedError(AgentError):
    """A call is refused; the caller reads ``fault``, an exception name of the service, and the message."""

    def __init__(self, fault: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.fault = fault
        self.status = status


class SandboxError(AgentError):
    """The sandbox itself cannot be started or used."""
