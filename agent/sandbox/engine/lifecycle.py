"""Which lifecycle events a target goes through, which of them the host is sent, and how results read in the API."""

from __future__ import annotations

from agent.sandbox.engine.records import Json

BLOCK = ("BeforeBlockTraffic", "BlockTraffic", "AfterBlockTraffic")
INSTALL = (
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
)
ALLOW = ("BeforeAllowTraffic", "AllowTraffic", "AfterAllowTraffic")
BY_SERVICE = frozenset({"BlockTraffic", "AllowTraffic"})
"""Events that the service does itself; hosts get no command for them."""

HOST_EVENTS = tuple(name for name in BLOCK + INSTALL + ALLOW if name not in BY_SERVICE)
"""All that a host may be sent. Agents take an event that they do not know for a custom one of the AppSpec."""

STOP_EVENTS = frozenset({"BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop"})
"""Events of the old revision: ignoreApplicationStopFailures lets a deployment go on after they fail."""

_ERROR_CODES = {0: "Success", 1: "ScriptMissing", 2: "ScriptNotExecutable", 3: "ScriptTimedOut", 4: "ScriptFailed"}


def events_of(group_settings: Json) -> list[str]:
    """Return the events of a group's deployments in their order; the traffic events only with a load balancer."""
    style = group_settings.get("deploymentStyle") or {}
    balancers = group_settings.get("loadBalancerInfo") or {}
    controlled = style.get("deploymentOption") == "WITH_TRAFFIC_CONTROL" and any(balancers.values())
    return [*BLOCK, *INSTALL, *ALLOW] if controlled else list(INSTALL)


def diagnostics_of(payload: Json) -> Json:
    """Turn the four keys of a completion into the API's diagnostics of a lifecycle event."""
    return {
        "errorCode": _ERROR_CODES.get(payload["error_code"], "UnknownError"),
        "scriptName": payload["script_name"],
        "message": payload["message"],
        "logTail": payload["log"],
    }


def diagnostics_by_service(message: str) -> Json:
    """Return the diagnostics of an event that the service ended itself."""
    return {"errorCode": "UnknownError", "scriptName": "", "message": message, "logTail": ""}
