"""The hosts of one application, each with a real agent, and the revisions that are deployed to them."""

from __future__ import annotations

import itertools
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent_host import AgentHost, revision
from sandbox_server import SandboxServer

_numbers = itertools.count(1)


class Fleet:
    """An application with its hosts; each host has a running agent."""

    def __init__(self, sandbox: SandboxServer, directory: Path) -> None:
        self.sandbox = sandbox
        self.directory = directory
        self.application = f"application-{next(_numbers)}"
        self.hosts: list[AgentHost] = []

    def on_premises(self, name: str = "host", *, session: bool = False, **settings: object) -> AgentHost:
        """A host that is registered with the service, its agent not started yet."""
        full = f"{self.application}-{name}"
        register = self.sandbox.register_session if session else self.sandbox.register_on_premises
        place = register(full, {"Application": self.application}, directory=self.directory / full / "identity")
        return self.add(full, on_premises_config_file=place, **settings)

    def add(self, name: str, **settings: object) -> AgentHost:
        """A host with these settings, its agent not started yet."""
        defaults: dict[str, object] = {"s3_endpoint_override": self.sandbox.url, "wait_between_runs": 1}
        if self.sandbox.ca_bundle:
            defaults["ca_bundle"] = self.sandbox.ca_bundle
        host = AgentHost(self.directory / name, self.sandbox.url, **(defaults | settings))
        self.hosts.append(host)
        return host

    def group(self, **settings: Any) -> None:
        """The deployment group of all on-premises hosts of this test."""
        self.sandbox.create_group(self.application, "group", {"Application": self.application}, **settings)

    def revision(self, name: str, hooks: Mapping[str, str], **files: str) -> Path:
        """A revision that installs into the directory ``site`` of this test; hooks are shell scripts."""
        content = files or {"index.html": name}
        return revision(self.directory / name, hooks, files=content, to=self.site)

    @property
    def site(self) -> Path:
        """Where revisions are installed."""
        return self.directory / "site"

    def upload(self, source: Path, *, bundle_type: str = "zip") -> dict[str, Any]:
        """Put a revision's directory into S3, packed."""
        name = f"{source.name}.{bundle_type}"
        data = pack(source, self.directory / f"packed-{name}", bundle_type).read_bytes()
        return self.sandbox.upload(f"{self.application}-bundles", name, data, bundle_type=bundle_type)

    def deploy(self, bundle: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Deploy and wait for the end; gives the service's description of the deployment."""
        return self.sandbox.wait(self.sandbox.deploy(self.application, "group", bundle, **options))


def pack(source: Path, target: Path, bundle_type: str) -> Path:
    """Pack a directory as a tar, tgz or zip."""
    if bundle_type == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            for path in sorted(source.rglob("*")):
                archive.write(path, path.relative_to(source))
    else:
        with tarfile.open(target, "w:gz" if bundle_type == "tgz" else "w") as tar:
            tar.add(source, arcname=".")
    return target
