"""A local deployment that moves this host's traffic as the service's deployments do."""

from __future__ import annotations

from agent.config.settings import Settings
from agent.errors import UsageError
from agent.local.request import LocalDeployment
from agent.traffic.policy import SERVICE_EVENTS, policy_of


def moving_traffic(deployment: LocalDeployment, settings: Settings) -> LocalDeployment:
    """The same deployment without the four traffic events: their scripts run where the traffic is moved.

    Raises UsageError where the settings do not name the group, or an event is missing that moves it.
    """
    name = deployment.spec.deployment_group_name
    policy = policy_of(settings.traffic_control, name)
    if policy is None:
        groups = ", ".join((settings.traffic_control or {}).get("groups", {})) or "none"
        raise UsageError(
            f'--traffic was given, and the setting traffic_control does not name the deployment group "{name}".',
            remedy=f"Choose a group with --deployment-group-name; it names {groups}.",
        )
    missing = [event for event in (policy.block_before, policy.allow_after) if event not in deployment.events]
    if missing:
        raise UsageError(
            f"--traffic was given, and --events leaves {' and '.join(missing)} out, where traffic is moved.",
            remedy="Add it, or leave --traffic out.",
        )
    return deployment._replace(events=tuple(event for event in deployment.events if event not in SERVICE_EVENTS))
