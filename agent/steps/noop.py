"""Whether a command has nothing to do on this host, so that the service may count it as done."""

from __future__ import annotations

from agent.deployment.lifecycle import BY_NAME
from agent.deployment.spec import DeploymentSpecification
from agent.runtime.host import Host

UPDATE = "UpdateDeploymentAgent"


def is_noop(command_name: str, spec: DeploymentSpecification, host: Host) -> bool:
    """Whether the AppSpec of the revision that a hook would use has no script for it; the rule is 1.8.1's.

    Never for DownloadBundle, Install, the update and what moves this host's traffic; always for a command that nobody
    knows. Raises what reading the AppSpec raises: AppSpecError, AppSpecMissingError, SpecificationError, OSError.
    """
    if command_name == UPDATE:
        return False
    event = BY_NAME.get(command_name)
    if event is None:
        return True
    if not event.is_hook:
        return False
    if host.settings.traffic_control:
        from agent.steps.traffic import moves_traffic

        if moves_traffic(command_name, spec, host):
            return False
    from agent.steps.hook_command import scripts_of  # the other commands are spared the import

    return not scripts_of(event, spec, host)[1]
