"""Deployment configurations: how many hosts must stay healthy, hence how many change at once, and when it succeeded."""

from __future__ import annotations

from typing import NamedTuple

from agent.sandbox.engine.records import Json
from agent.sandbox.errors import RefusedError

PREDEFINED: dict[str, Json] = {
    "CodeDeployDefault.AllAtOnce": {"type": "FLEET_PERCENT", "value": 0},
    "CodeDeployDefault.HalfAtATime": {"type": "FLEET_PERCENT", "value": 50},
    "CodeDeployDefault.OneAtATime": {"type": "FLEET_PERCENT", "value": 99},
}


class RolloutProgress(NamedTuple):
    """How many targets of a deployment are where; a target that has not begun counts as healthy."""

    pending: int
    running: int
    succeeded: int
    failed: int

    @property
    def total(self) -> int:
        """Return the number of hosts in the deployment."""
        return self.pending + self.running + self.succeeded + self.failed


def check(minimum: Json) -> None:
    """Refuse a minimum of healthy hosts that means nothing.

    Raises RefusedError, InvalidMinimumHealthyHostValueException.
    """
    kind, value = minimum.get("type"), minimum.get("value", 0)
    if kind == "FLEET_PERCENT" and 0 <= value < 100:
        return
    if kind == "HOST_COUNT" and value >= 0:
        return
    raise RefusedError(
        "InvalidMinimumHealthyHostValueException",
        f"Minimum healthy hosts must be a HOST_COUNT of 0 or more or a FLEET_PERCENT from 0 to 99, not {kind} {value}.",
    )


def required(minimum: Json, total: int) -> int:
    """Return how many of the hosts must stay healthy.

    A percentage is rounded up, but one host may always be taken out: otherwise nothing could ever be deployed.
    """
    if minimum["type"] == "HOST_COUNT":
        return int(minimum["value"])
    return min(-(-total * int(minimum["value"]) // 100), max(total - 1, 0))


def may_start(minimum: Json, progress: RolloutProgress) -> int:
    """Return how many further hosts may begin now."""
    healthy = progress.pending + progress.succeeded
    return max(0, min(progress.pending, healthy - required(minimum, progress.total)))


def is_lost(minimum: Json, progress: RolloutProgress) -> bool:
    """Tell whether the deployment cannot go on: hosts are waiting, none is at work, and none may begin."""
    return progress.pending > 0 and progress.running == 0 and may_start(minimum, progress) == 0


def has_succeeded(minimum: Json, progress: RolloutProgress) -> bool:
    """Tell whether a finished deployment succeeded: enough hosts, and one at the least, have the revision."""
    return progress.succeeded >= max(1, required(minimum, progress.total))
