"""One test's own corner of a shared sandbox: an application, a group, and hosts that a script plays."""

from __future__ import annotations

import itertools
from typing import Any

from host_agent_stub import HostAgentStub
from sandbox_server import SandboxServer

_numbers = itertools.count(1)


class Scene:
    """An application and group of a test's own, with hosts that a script plays."""

    def __init__(self, sandbox: SandboxServer) -> None:
        self.sandbox = sandbox
        self.name = f"app-{next(_numbers)}"
        self.hosts: list[HostAgentStub] = []

    def host(self, *, session: bool = False) -> HostAgentStub:
        name = f"{self.name}-host-{len(self.hosts)}"
        register = self.sandbox.register_session if session else self.sandbox.register_on_premises
        path = register(name, {"App": self.name})
        self.hosts.append(HostAgentStub.from_on_premises(self.sandbox.url, path))
        return self.hosts[-1]

    def group(self, **settings: Any) -> None:
        self.sandbox.create_group(self.name, "group", {"App": self.name}, **settings)

    def deploy(self, key: str | None = "v1.zip", **options: Any) -> str:
        place = {"bucket": "bundles", "key": key, "bundleType": "zip"}
        revision = None if key is None else {"revisionType": "S3", "s3Location": place}
        return self.sandbox.deploy(self.name, "group", revision, **options)
