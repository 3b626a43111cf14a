"""From a provider's settings to the provider; each kind is imported only where it is used."""

from __future__ import annotations

from typing import Any

from agent.traffic.errors import TrafficError
from agent.traffic.provider import Access, Provider


def make_provider(config: dict[str, Any], access: Access) -> Provider:
    """The provider that a mapping of the settings asks for. Raises TrafficError for a type that nobody knows."""
    if config["type"] == "elbv2":
        from agent.traffic.elbv2 import TargetGroups

        return TargetGroups(config, access)
    if config["type"] == "elb":
        from agent.traffic.elb import ClassicBalancers

        return ClassicBalancers(config, access)
    if config["type"] == "haproxy":
        from agent.traffic.haproxy import HaproxyServers

        return HaproxyServers(config)
    if config["type"] == "command":
        from agent.traffic.command import Commands

        return Commands(config)
    raise TrafficError(f'There is no kind of load balancer "{config["type"]}".')
