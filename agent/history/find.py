"""Which deployment a person means who types an id or the beginning of one."""

from __future__ import annotations

from agent.errors import AgentError
from agent.history.model import Deployment, Group, HostHistory
from agent.text.suggest import did_you_mean

_NAMED_AT_MOST = 5
_UNSEEN = "This user may not see all of them: ask as root."


class NoSuchDeploymentError(AgentError):
    """An id is not known on this host, or begins several."""


def find(history: HostHistory, text: str) -> Deployment:
    """Return the deployment with this id, or the only one whose id begins so. Raises NoSuchDeploymentError."""
    known = [one for group in history.groups for one in group.deployments]
    exact = [one for one in known if one.deployment == text]
    found = exact or [one for one in known if text and one.deployment.startswith(text)]
    if len(found) == 1:
        return found[0]
    ids = [f"{one.deployment} (group {one.group})" if exact else one.deployment for one in found]
    if found:
        more = f" and {len(ids) - _NAMED_AT_MOST} more" if len(ids) > _NAMED_AT_MOST else ""
        raise NoSuchDeploymentError(
            f'"{text}" begins the ids of {len(ids)} deployments: {", ".join(ids[:_NAMED_AT_MOST])}{more}.',
            remedy="Type more of the id.",
        )
    advice = did_you_mean(text, [one.deployment for one in known])
    unseen = f" {_UNSEEN}" if history.unseen else ""
    remedy = f"{advice} codedeploy-agent deployments list shows those that this host knows.{unseen}".strip()
    raise NoSuchDeploymentError(f'This host knows no deployment "{text}".', remedy=remedy)


def find_group(history: HostHistory, text: str) -> Group:
    """Return the deployment group with this id or name. Raises NoSuchDeploymentError."""
    groups = [group for group in history.groups if group.group]
    exact = [group for group in groups if group.group == text]
    found = exact or [group for group in groups if group.fact("group_name") == text]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(group.group for group in found)
        raise NoSuchDeploymentError(f'Several deployment groups have the name "{text}".', remedy=f"Give an id: {ids}.")
    known = [name for group in groups for name in (group.group, group.fact("group_name")) if name]
    advice = did_you_mean(text, known) or (f"Known are {', '.join(known[:10])}." if known else "")
    advice = f"{advice} {_UNSEEN}".strip() if history.unseen else advice
    raise NoSuchDeploymentError(f'This host knows no deployment group "{text}".', remedy=advice)
