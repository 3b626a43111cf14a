"""Taking this host out of its load balancers and putting it back, as part of a deployment's commands.

It acts for the deployment groups that the setting ``traffic_control`` names, and for no others; never where the
service does it (a deployment that sends BeforeBlockTraffic), for BLUE_GREEN, or for an instance that Auto Scaling adds.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable

from agent.deployment.lifecycle import BY_NAME
from agent.deployment.spec import DeploymentSpecification
from agent.errors import AgentError
from agent.filesystem.durable import write_durably
from agent.runtime.host import Host
from agent.steps.bundle_cache import fetch_ahead
from agent.steps.bundle_command import fetch
from agent.steps.hook_command import run_hooks
from agent.store.directories import make_state_directory
from agent.store.layout import Layout
from agent.traffic.control import TrafficControl
from agent.traffic.policy import ALLOW_EVENTS, BLOCK_EVENTS, Policy, policy_of
from agent.traffic.provider import BalancerAccess
from agent.traffic.record import Records, TrafficRecord

MANAGED_KEPT = 100
"""Deployments that are remembered as moved by the service."""

KILLED_LIMIT = 60.0
"""Seconds for bringing the traffic of a killed command in order before its outcome is reported."""

_ORDER = list(BY_NAME)

_log = logging.getLogger(__name__)


def records_of(layout: Layout) -> Records:
    """What is known of every group's traffic on this host. Raises RootDirectoryError."""
    make_state_directory(layout, layout.traffic)
    return Records(layout.traffic)


def acting_policy(spec: DeploymentSpecification, host: Host) -> Policy | None:
    """The policy by which this host is moved for a deployment; None where that is not for the agent to do."""
    if host.traffic is None or spec.deployment_type == "BLUE_GREEN" or spec.deployment_creator == "autoscaling":
        return None
    policy = policy_of(host.settings.traffic_control, spec.deployment_group_name)
    if policy is None or spec.deployment_id in _managed(host.layout):
        return None
    return policy


def moves_traffic(command_name: str, spec: DeploymentSpecification, host: Host) -> bool:
    """Whether a command takes this host out of service or puts it back, and so is never a no-op."""
    policy = acting_policy(spec, host)
    return policy is not None and command_name in (policy.block_before, policy.allow_after)


def note_managed(command_name: str, spec: DeploymentSpecification, host: Host) -> None:
    """Remember durably that the service moves the traffic of a deployment: it has sent BeforeBlockTraffic.

    Raises OSError, RootDirectoryError.
    """
    if command_name != BLOCK_EVENTS[0] or acting_policy(spec, host) is None:
        return
    known = [*_managed(host.layout), spec.deployment_id][-MANAGED_KEPT:]
    make_state_directory(host.layout, host.layout.traffic)
    write_durably(_managed_file(host.layout), json.dumps(known).encode(), mode=0o600)
    _log.info("The service moves the traffic of %s; traffic_control does nothing for it", spec.deployment_id)


def carry_out_with_traffic(
    command_name: str, spec: DeploymentSpecification, host: Host, carry_out: Callable[[], str]
) -> str:
    """Carry a command out, out of service where it has to be; gives what ``carry_out`` gives.

    After a failure the failure policy is applied before the error goes on. Raises what ``carry_out`` raises,
    TrafficError, LockTimeoutError.
    """
    policy = acting_policy(spec, host)
    if policy is None or not _within(command_name, policy):
        return carry_out()
    control = _control(policy, spec, host)
    try:
        _leave(command_name, policy, control, spec, host)
        detail = carry_out()
        if command_name == policy.allow_after:
            _run_event(ALLOW_EVENTS[0], spec, host)
            host.observer.expect(policy.time_limit_seconds)
            control.put_back()
            _run_event(ALLOW_EVENTS[1], spec, host)
    except Exception as error:
        # After a defect of ours, too: the host must not stay where nobody looks after it.
        message = error.message if isinstance(error, AgentError) else str(error) or type(error).__name__
        _apply_failure(control, f"{command_name} of {spec.deployment_id} failed: {message}")
        raise
    except KeyboardInterrupt:
        _apply_failure(control, f"{command_name} of {spec.deployment_id} was interrupted", interrupted=True)
        raise
    return detail


def finalize_killed(deployment_id: str, host: Host) -> None:
    """Bring the traffic of a deployment in order whose worker was killed in the middle of a command.

    What goes wrong is logged; only being told to stop is raised.
    """
    if host.traffic is None or not os.path.isdir(host.layout.traffic):
        return
    try:
        for record in records_of(host.layout).all()[0]:
            if record.deployment_id == deployment_id:
                # The outcome waits to be reported; what takes longer the supervisor has done every minute.
                brief = record.policy._replace(time_limit_seconds=KILLED_LIMIT)
                control = control_of_record(record._replace(policy=brief), host)
                _apply_failure(control, f"a command of {deployment_id} was interrupted", interrupted=True)
    except (AgentError, OSError) as error:
        _log.error("The traffic of %s: %s", deployment_id, error)
    except Exception:  # noqa: BLE001 - a defect of ours must not cost the deployment its outcome
        _log.error("A defect of the agent: the traffic of %s was not brought in order", deployment_id, exc_info=True)


def control_of_record(record: TrafficRecord, host: Host) -> TrafficControl:
    """The control that goes on with a record, by the policy that counted when it was begun."""
    access = host.traffic(record.policy) if host.traffic is not None else BalancerAccess()
    return TrafficControl(record.group_name, record.policy, records_of(host.layout), access, tell=host.observer.notice)


def _control(policy: Policy, spec: DeploymentSpecification, host: Host) -> TrafficControl:
    access = host.traffic(policy) if host.traffic is not None else BalancerAccess()
    return TrafficControl(
        spec.deployment_group_name, policy, records_of(host.layout), access, tell=host.observer.notice
    )


def _within(command_name: str, policy: Policy) -> bool:
    """Whether a command belongs to the time out of service."""
    if command_name not in BY_NAME:
        return False
    first, last = _ORDER.index(policy.block_before), _ORDER.index(policy.allow_after)
    return first <= _ORDER.index(command_name) <= last


def _leave(
    command_name: str, policy: Policy, control: TrafficControl, spec: DeploymentSpecification, host: Host
) -> None:
    begins = command_name == policy.block_before
    if begins:
        # Whatever can be done or can go wrong while the host still serves is done here.
        fetch_ahead(spec, host, lambda path: fetch(spec, path, host)[1:])
        _run_event(BLOCK_EVENTS[0], spec, host)
    # Also at every later event: a command that was ended half-way may have left the host in service.
    host.observer.expect(policy.time_limit_seconds)
    control.take_out(deployment_id=spec.deployment_id, group_id=spec.deployment_group_id)
    if begins:
        _run_event(BLOCK_EVENTS[1], spec, host)


def _run_event(name: str, spec: DeploymentSpecification, host: Host) -> None:
    run_hooks(BY_NAME[name], spec, host)


def _apply_failure(control: TrafficControl, reason: str, *, interrupted: bool = False) -> None:
    try:
        control.failed(reason.rstrip(".")[:1000], interrupted=interrupted)
    except (AgentError, OSError) as error:
        # The deployment's own failure is what has to be reported.
        _log.error("The failure policy could not be applied: %s", error)


def _managed_file(layout: Layout) -> str:
    return os.path.join(layout.traffic, "managed")


def _managed(layout: Layout) -> list[str]:
    try:
        with open(_managed_file(layout), "rb") as file:
            found = json.loads(file.read(65536))
    except (OSError, ValueError):
        return []
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []
