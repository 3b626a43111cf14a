"""An operating system's error as one that a person can act upon."""

from __future__ import annotations

from agent.errors import AgentError
from agent.filesystem.reasons import place_and_reason, remedy_for


def explain(error: OSError | MemoryError, doing: str) -> AgentError:
    """Return an operating system's error as one that says where it happened, during what, and what to do."""
    return AgentError(f"{doing}: {place_and_reason(error)}.", remedy=remedy_for(error))
