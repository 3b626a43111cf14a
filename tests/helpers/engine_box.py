"""The sandbox's engine without any wire: a clock that is set by hand, and hosts that are played step by step."""

from __future__ import annotations

from typing import Any

from agent.sandbox.engine.engine import Engine
from agent.sandbox.engine.records import Deployment, Json, Scope, TargetCommand

SUCCESS = {"error_code": 0, "script_name": "", "message": "Succeeded: ", "log": ""}
FAILURE = {"error_code": 4, "script_name": "check.sh", "message": "it failed", "log": "why"}


class EngineBox:
    """An engine with the application ``app``, the group ``group`` and hosts with the tag Role=web."""

    def __init__(self, hosts: int = 1, **settings: Any) -> None:
        self.now = 1000.0
        self.engine = Engine(Scope(), clock=lambda: self.now)
        self.hosts = [f"arn:aws:iam::123456789012:user/host-{number}" for number in range(hosts)]
        for number, arn in enumerate(self.hosts):
            instance = self.engine.hosts.register(f"host-{number}", user_arn=arn, session_arn=None)
            instance.tags["Role"] = "web"
        self.engine.catalogue.create_application("app", {})
        filters = [{"Key": "Role", "Value": "web", "Type": "KEY_AND_VALUE"}]
        defaults = {"onPremisesInstanceTagFilters": filters, "deploymentConfigName": "CodeDeployDefault.AllAtOnce"}
        self.group = self.engine.catalogue.create_group("app", "group", {**defaults, **settings}, {})

    def deploy(self, key: str | None = "v1.zip", **options: Any) -> Deployment:
        """Create a deployment of a revision, or without one."""
        place = {"bucket": "b", "key": key, "bundleType": "zip"}
        revision: Json = {} if key is None else {"revision": {"revisionType": "S3", "s3Location": place}}
        request = {"applicationName": "app", "deploymentGroupName": "group", **revision, **options}
        return self.engine.deployments.create(request)

    def poll(self, host: int = 0) -> TargetCommand | None:
        """Let a host ask, without waiting."""
        return self.engine.poll(self.hosts[host], seconds=0)

    def do(self, host: int = 0, payload: Json = SUCCESS) -> str:
        """Let a host take up its next command and end it; give the event's name."""
        command = self.poll(host)
        assert command is not None
        self.engine.acknowledge(command.identifier, self.hosts[host], noop=False)
        succeeded = payload["error_code"] == 0
        self.engine.complete(command.identifier, self.hosts[host], succeeded=succeeded, payload=payload)
        return command.event.name

    def finish(self, host: int = 0, *, fail_at: str = "") -> list[str]:
        """Let a host do all its commands, one of them badly; give the events' names."""
        done = []
        while (command := self.engine.dispatcher.next_for(self.hosts[host])) is not None:
            done.append(self.do(host, FAILURE if command.event.name == fail_at else SUCCESS))
        return done
