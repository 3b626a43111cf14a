"""The one error of this room."""

from __future__ import annotations

from agent.errors import AgentError

_REMEDY = (
    "Nothing was downloaded or run. Create the deployment again; if this stays, something between this host and "
    "the service changes messages: look at proxy_uri and deploy_control_endpoint."
)


class TrustError(AgentError):
    """A message that claims to come from the deployment service cannot be trusted; its content was not used."""


def damaged(found: str) -> TrustError:
    """The error for a message that is not what the service sends; ``found`` is a clause that says what was found."""
    return TrustError(f"The signed deployment specification cannot be used: {found}.", remedy=_REMEDY)
