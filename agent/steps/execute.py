"""One host command from start to finish: every way that it can end becomes one outcome."""

from __future__ import annotations

import gc
import time

from agent.deployment.lifecycle import BY_NAME, LifecycleEvent
from agent.deployment.outcome import Outcome, failure, success
from agent.deployment.spec import DeploymentSpecification
from agent.errors import AgentError, SpecificationError
from agent.filesystem.reasons import explained_error
from agent.runtime.host import Host
from agent.steps import event_log
from agent.steps.bundle_command import download_bundle
from agent.steps.hook_command import is_to_be_skipped, run_hooks, scripts_of
from agent.steps.install_command import install_revision

_UPDATE = "UpdateDeploymentAgent"

_COLLECT_AFTER = 100_000
"""New objects after which Python looks for garbage in reference cycles; a deployment makes next to none."""


def execute(command_name: str, spec: DeploymentSpecification, host: Host) -> Outcome:
    """Carry out one command and say how it ended.

    The caller holds the lock of the deployment group. Failures that can be explained become an outcome; only an
    interrupt (KeyboardInterrupt) and defects of the agent are raised.
    """
    gc.set_threshold(_COLLECT_AFTER)  # at the usual 700 a third of reading a large AppSpec is such searches
    event_log.started(command_name)
    began = time.monotonic()
    try:
        outcome = success(_with_traffic(command_name, spec, host))
    except AgentError as error:
        outcome = failure(error)
    except (OSError, MemoryError) as error:
        outcome = failure(explained_error(error, command_name))
    event_log.ended(command_name, outcome, seconds=time.monotonic() - began, output=_script_log(spec, host))
    return outcome


def _script_log(spec: DeploymentSpecification, host: Host) -> str:
    try:
        return host.layout.script_log(host.layout.deployment(spec.deployment_group_id, spec.deployment_id))
    except SpecificationError:  # for which the command has failed
        return ""


def event_named(command_name: str, host: Host) -> LifecycleEvent:
    """The row of the lifecycle table for a command. Raises SpecificationError for a command that nobody knows."""
    event = BY_NAME.get(command_name)
    if event is None and command_name in host.custom_events:
        event = LifecycleEvent(command_name)
    if event is None:
        raise SpecificationError(
            f'The command "{command_name}" is not supported.', remedy=f"Supported are {', '.join(BY_NAME)}."
        )
    return event


def _with_traffic(command_name: str, spec: DeploymentSpecification, host: Host) -> str:
    if not host.settings.traffic_control:
        return _carry_out(command_name, spec, host)
    from agent.steps.traffic import carry_out_with_traffic  # most hosts are spared the import

    return carry_out_with_traffic(command_name, spec, host, lambda: _carry_out(command_name, spec, host))


def _carry_out(command_name: str, spec: DeploymentSpecification, host: Host) -> str:
    if command_name == _UPDATE:
        raise SpecificationError(
            "This agent is not updated by a command of the service: nothing was downloaded and nothing was run.",
            remedy="Update it with the tool that installed it, for example codedeploy-agent install on the host.",
        )
    event = event_named(command_name, host)
    if event.is_hook:
        return run_hooks(event, spec, host)
    return download_bundle(spec, host) if event.name == "DownloadBundle" else install_revision(spec, host)


def is_noop(command_name: str, spec: DeploymentSpecification, host: Host) -> bool:
    """Return whether the AppSpec of the revision that a hook would use has no script for it, by 1.8.1's rule.

    Never for DownloadBundle, Install, the update and what moves this host's traffic; always for a command that nobody
    knows. Raises what reading the AppSpec raises: AppSpecError, AppSpecMissingError, SpecificationError, OSError.
    """
    if command_name == _UPDATE:
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
    # The AppSpec of the earlier revision may be what is broken.
    return not is_to_be_skipped(event, spec, host) and not scripts_of(event, spec, host)[1]
