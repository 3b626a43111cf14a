"""The lifecycle events of a server deployment: one table, read by everything that orders or runs them."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class RevisionChoice(Enum):
    """Which revision's AppSpec and scripts an event uses while the deployment's own is not on the host yet."""

    CURRENT = "current"
    LAST_SUCCESSFUL = "last successful"
    MOST_RECENT = "most recent"


class LifecycleEvent(NamedTuple):
    """One row of the lifecycle table.

    ``is_hook`` tells events that run scripts; ``normal`` and ``blue_green_rollback`` say whose scripts.
    """

    name: str
    is_hook: bool = True
    normal: RevisionChoice = RevisionChoice.CURRENT
    blue_green_rollback: RevisionChoice = RevisionChoice.CURRENT


_LAST = RevisionChoice.LAST_SUCCESSFUL
_RECENT = RevisionChoice.MOST_RECENT
_CURRENT = RevisionChoice.CURRENT

# In the order of codedeploy-local; the service puts BeforeAllowTraffic and AfterAllowTraffic last as well.
LIFECYCLE: tuple[LifecycleEvent, ...] = (
    LifecycleEvent("BeforeBlockTraffic", normal=_LAST, blue_green_rollback=_RECENT),
    LifecycleEvent("AfterBlockTraffic", normal=_LAST, blue_green_rollback=_RECENT),
    LifecycleEvent("ApplicationStop", normal=_LAST, blue_green_rollback=_LAST),
    LifecycleEvent("DownloadBundle", is_hook=False),
    LifecycleEvent("BeforeInstall"),
    LifecycleEvent("Install", is_hook=False),
    LifecycleEvent("AfterInstall"),
    LifecycleEvent("ApplicationStart"),
    LifecycleEvent("ValidateService"),
    LifecycleEvent("BeforeAllowTraffic", normal=_CURRENT, blue_green_rollback=_LAST),
    LifecycleEvent("AfterAllowTraffic", normal=_CURRENT, blue_green_rollback=_LAST),
)

BY_NAME = {event.name: event for event in LIFECYCLE}
