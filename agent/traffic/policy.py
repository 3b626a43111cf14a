"""What an operator wants for a deployment group: its balancers, and what to do when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

STAY_OUT = "stay_out"

BLOCK_EVENTS = ("BeforeBlockTraffic", "AfterBlockTraffic")
ALLOW_EVENTS = ("BeforeAllowTraffic", "AfterAllowTraffic")
SERVICE_EVENTS = (*BLOCK_EVENTS, *ALLOW_EVENTS)
"""Events that the service sends only where it manages the load balancer itself."""


class Policy(NamedTuple):
    """The settings of one deployment group, already checked; times in seconds, None: as long as the balancer says."""

    providers: list[dict[str, Any]]
    on_failure: str = STAY_OUT
    minimum_healthy: int = 1
    block_before: str = "ApplicationStop"
    allow_after: str = "ValidateService"
    drain_seconds: float | None = None
    healthy_seconds: float | None = None
    time_limit_seconds: float = 1800
    abandoned_after_seconds: float = 4500


def policy_of(setting: Mapping[str, Any] | None, group_name: str) -> Policy | None:
    """The policy of a deployment group by its name; None where the setting does not name the group."""
    groups = setting["groups"] if setting else {}
    return Policy(**groups[group_name]) if group_name in groups else None
