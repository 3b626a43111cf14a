"""Application and network load balancers: this host as a target of target groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.traffic.aws import BalancerApi
from agent.traffic.errors import TrafficError
from agent.traffic.provider import BalancerAccess, CallLimits, Look, Member, Stage, Step

SLACK = 30.0
"""Seconds on top of what the target group's settings come to."""

NAMES_AT_ONCE = 20
"""Names that one DescribeTargetGroups may ask for."""

_STAGES = {
    "healthy": Stage.HEALTHY,
    "unavailable": Stage.HEALTHY,  # health checks are off
    "initial": Stage.STARTING,
    "unhealthy": Stage.STARTING,
    "unhealthy.draining": Stage.STARTING,
    "draining": Stage.DRAINING,
}


class TargetGroups:
    """The target groups that a provider of type ``elbv2`` names, or all that hold this host."""

    forgets = False

    def __init__(self, config: dict[str, Any], access: BalancerAccess) -> None:
        self._config = config
        self._desired = config["target_groups"]
        self._ids = frozenset(config["target_ids"] or _own_ids(access.instance_id))
        # Among all target groups of an account may be those of networks where another host has the same address.
        unsure = self._desired == "all" and not config["target_ids"]
        self._unsure = self._ids - {access.instance_id} if unsure else frozenset()
        self._api = BalancerApi("elbv2", config, access)

    def find(self) -> list[Member]:
        """Every target that is this host, in every group; a named group without one is a place that it was out of."""
        found = []
        for group in self._groups():
            arn, name = group["TargetGroupArn"], group["TargetGroupName"]
            mine = [row for row in self._health(arn) if row["Target"]["Id"] in self._ids]
            for address in {row["Target"]["Id"] for row in mine} & self._unsure:
                raise TrafficError(
                    f'Target group {name} holds {address}, and "all" does not tell whether that is this host or one in'
                    " another network.",
                    remedy="Name the target groups in target_groups, or what this host is registered as in target_ids.",
                )
            found += [self._member(arn, name, row) for row in mine]
            if not mine and self._desired != "all":
                found.append(Member(self._config, f"target group {name}", {}, "not registered", Step.WAS_OUT))
        return found

    def block(self, member: Member) -> None:
        """Deregister the target; one that is not registered is left so."""
        group, target = _target_of(member)
        try:
            self._api.call("deregister_targets", TargetGroupArn=group, Targets=[target])
        except TrafficError as error:
            if error.service_code != "InvalidTarget" and not error.gone:
                raise

    def allow(self, member: Member) -> None:
        """Register the very target that was taken out: its id, port and zone."""
        group, target = _target_of(member)
        self._api.call("register_targets", TargetGroupArn=group, Targets=[target])

    def look(self, member: Member) -> Look:
        """The target's health; one that is not registered, or whose group is gone, is out."""
        if not member.details:
            return Look(Stage.OUT, "not registered")
        group, target = _target_of(member)
        try:
            rows = self._health(group, Targets=[target])
        except TrafficError as error:
            if error.service_code == "InvalidTarget":
                return Look(Stage.OUT, "not registered")
            raise
        return _look_at(rows[0]) if rows else Look(Stage.OUT, "not registered")

    def others(self, member: Member) -> int | None:
        """How many healthy targets the group has that are not this host."""
        rows = self._health(_target_of(member)[0])
        return sum(row["Target"]["Id"] not in self._ids and _look_at(row).stage is Stage.HEALTHY for row in rows)

    def limits(self, member: Member) -> CallLimits:
        """The group's deregistration delay, and the time of the health checks that make a target healthy."""
        arn = _target_of(member)[0]
        attributes = self._api.call("describe_target_group_attributes", TargetGroupArn=arn)["Attributes"]
        delay = next((row["Value"] for row in attributes if row["Key"] == "deregistration_delay.timeout_seconds"), 300)
        (group,) = self._api.call("describe_target_groups", TargetGroupArns=[arn])["TargetGroups"]
        checks = group.get("HealthyThresholdCount", 5) + 1
        one = group.get("HealthCheckIntervalSeconds", 30) + group.get("HealthCheckTimeoutSeconds", 5)
        return CallLimits(float(delay) + SLACK, checks * one + SLACK)

    def _groups(self) -> list[dict[str, Any]]:
        if self._desired == "all":
            return self._api.pages("describe_target_groups", "TargetGroups")
        arns = [name for name in self._desired if name.startswith("arn:")]
        names = [name for name in self._desired if not name.startswith("arn:")]
        found = []
        for key, desired in (("TargetGroupArns", arns), ("Names", names)):
            for start in range(0, len(desired), NAMES_AT_ONCE):
                part = desired[start : start + NAMES_AT_ONCE]
                found += self._api.pages("describe_target_groups", "TargetGroups", **{key: part})
        return found

    def _health(self, arn: str, **more: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        found: list[dict[str, Any]] = self._api.call("describe_target_health", TargetGroupArn=arn, **more).get(
            "TargetHealthDescriptions", []
        )
        return found

    def _member(self, arn: str, name: str, row: dict[str, Any]) -> Member:
        target = {key: row["Target"][key] for key in ("Id", "Port", "AvailabilityZone") if key in row["Target"]}
        place = f"target group {name}, target {target['Id']}" + (f":{target['Port']}" if "Port" in target else "")
        look = _look_at(row)
        step = Step.WAS_OUT if look.stage in (Stage.OUT, Stage.DRAINING) else Step.PLANNED
        return Member(self._config, place, {"target_group": arn, "target": target}, look.text, step)


def _target_of(member: Member) -> tuple[str, dict[str, Any]]:
    return member.details["target_group"], member.details["target"]


def _look_at(row: Mapping[str, Any]) -> Look:
    health = row.get("TargetHealth", {})
    state, reason = health.get("State", "unknown"), health.get("Reason", "")
    text = f"{state} ({reason})" if reason else str(state)
    if state == "unused":
        # A registered target of a group that no listener uses takes no traffic either way: nothing to wait for.
        return Look(Stage.OUT if reason == "Target.NotRegistered" else Stage.HEALTHY, text)
    return Look(_STAGES.get(state, Stage.STARTING), text)


def _own_ids(instance_id: str) -> list[str]:
    """What this host may be registered as: its instance id and its addresses."""
    from socket import AF_INET, AF_INET6

    import psutil  # only needed where nobody says what the target is

    addresses = [
        row.address.split("%")[0]
        for rows in psutil.net_if_addrs().values()
        for row in rows
        if row.family in (AF_INET, AF_INET6) and not row.address.startswith(("127.", "::1", "fe80:"))
    ]
    return [*([instance_id] if instance_id else []), *addresses]
