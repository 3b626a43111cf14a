"""Classic load balancers: this host as a registered instance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.traffic.aws import BalancerApi
from agent.traffic.errors import TrafficError
from agent.traffic.provider import BalancerAccess, CallLimits, Look, Member, Stage, Step

SLACK = 30.0
"""Seconds on top of what the load balancer's settings come to."""

_DRAINING = "deregistration currently in progress"
"""What the service says about an instance whose connections are being drained."""

_NOT_THERE = "InvalidInstance"


class ClassicBalancers:
    """The load balancers that a provider of type ``elb`` names."""

    forgets = False

    def __init__(self, config: dict[str, Any], access: BalancerAccess) -> None:
        self._config = config
        self._names = config["load_balancers"]
        self._instance = config["instance_id"] or access.instance_id
        self._api = BalancerApi("elb", config, access)

    def find(self) -> list[Member]:
        """This instance at each of the load balancers."""
        if not self._instance:
            raise TrafficError(
                "A classic load balancer knows hosts by their EC2 instance id, and this host has none.",
                remedy="Set instance_id in the provider of type elb.",
            )
        found = []
        for name in self._names:
            details = {"load_balancer": name, "instance": self._instance}
            member = Member(self._config, f"load balancer {name}", details, "")
            look = self.look(member)
            step = Step.WAS_OUT if look.stage in (Stage.OUT, Stage.DRAINING) else Step.PLANNED
            found.append(member._replace(former=look.text, step=step))
        return found

    def block(self, member: Member) -> None:
        """Deregister the instance; one that is not registered is left so."""
        try:
            self._api.call("deregister_instances_from_load_balancer", **_arguments(member))
        except TrafficError as error:
            if error.service_code != _NOT_THERE and not error.gone:
                raise

    def allow(self, member: Member) -> None:
        """Register the instance."""
        self._api.call("register_instances_with_load_balancer", **_arguments(member))

    def look(self, member: Member) -> Look:
        """The instance's state; one that is not registered is out."""
        if member.details["instance"] not in self._registered(member):
            return Look(Stage.OUT, "not registered")
        try:
            rows = self._api.call("describe_instance_health", **_arguments(member))["InstanceStates"]
        except TrafficError as error:
            if error.service_code != _NOT_THERE:
                raise
            return Look(Stage.OUT, "not registered")
        return _look_at(rows[0]) if rows else Look(Stage.OUT, "not registered")

    def others(self, member: Member) -> int | None:
        """How many other instances are in service."""
        name = member.details["load_balancer"]
        rows = self._api.call("describe_instance_health", LoadBalancerName=name)["InstanceStates"]
        healthy = [row["InstanceId"] for row in rows if _look_at(row).stage is Stage.HEALTHY]
        return len([name for name in healthy if name != member.details["instance"]])

    def limits(self, member: Member) -> CallLimits:
        """The load balancer's connection draining time, and the time of the checks that make an instance healthy."""
        name = member.details["load_balancer"]
        answer = self._api.call("describe_load_balancer_attributes", LoadBalancerName=name)
        draining = answer["LoadBalancerAttributes"].get("ConnectionDraining", {})
        drain = float(draining.get("Timeout", 300)) if draining.get("Enabled") else 0.0
        check = self._describe(name).get("HealthCheck", {})
        one = check.get("Interval", 30) + check.get("Timeout", 5)
        return CallLimits(drain + SLACK, (check.get("HealthyThreshold", 10) + 1) * one + SLACK)

    def _registered(self, member: Member) -> list[str]:
        """The instances that are registered; one that is being drained may still be among them, or not."""
        found = self._describe(member.details["load_balancer"])
        ids = [row["InstanceId"] for row in found.get("Instances", [])]
        rows = self._api.call("describe_instance_health", LoadBalancerName=member.details["load_balancer"])
        return [*ids, *(row["InstanceId"] for row in rows["InstanceStates"] if _DRAINING in _words(row))]

    def _describe(self, name: str) -> dict[str, Any]:
        answer = self._api.call("describe_load_balancers", LoadBalancerNames=[name])
        found: list[dict[str, Any]] = answer.get("LoadBalancerDescriptions", [])
        if not found:
            raise TrafficError(f"There is no load balancer {name}.", gone=True)
        return found[0]


def _arguments(member: Member) -> dict[str, Any]:
    details = member.details
    return {"LoadBalancerName": details["load_balancer"], "Instances": [{"InstanceId": details["instance"]}]}


def _words(row: Mapping[str, Any]) -> str:
    return str(row.get("Description", "")).lower()


def _look_at(row: Mapping[str, Any]) -> Look:
    state = row.get("State", "Unknown")
    if _DRAINING in _words(row):
        return Look(Stage.DRAINING, "draining")
    return Look(Stage.HEALTHY if state == "InService" else Stage.STARTING, str(state))
