"""Booted hosts with the agent on them, and the sandbox that they are deployed to from.

The sandbox is the service, S3 and the metadata service at 169.254.169.254, on the lab's network. Agents ask it by TLS,
with an authority that is on every host.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import host_network
from agent_fleet import pack
from agent_wheelhouse import INSIDE, Wheelhouse, installed_layer, wheelhouse, wheelhouses
from booted_host import BootedHost
from host_lab import HostLab
from sandbox_server import SandboxServer, running_sandbox
from tls_front import tls_front

SERVICE_URL = f"https://{host_network.MACHINE_ADDRESS}"
"""The sandbox, as hosts reach it."""
CA_BUNDLE = "/etc/sandbox-ca.pem"
"""Where every host has the authority of the sandbox's certificate."""
CONFIG = "/etc/codedeploy-agent/conf/codedeployagent.yml"
ON_PREMISES = "/etc/codedeploy-agent/conf/codedeploy.onpremises.yml"
DROP_INS = "/etc/systemd/system/codedeploy-agent.service.d"
ROOT = "/opt/codedeploy-agent/deployment-root"
LOG = "/var/log/aws/codedeploy-agent/codedeploy-agent.log"
SITE = "/srv/site"
"""Where revisions that are only files go."""


class Site:
    """A lab and its sandbox, for all tests of a process; each test has its own Fleet in it."""

    def __init__(self, lab: HostLab, sandbox: SandboxServer, ca_pem: str) -> None:
        self.lab = lab
        self.sandbox = sandbox
        self.ca_pem = ca_pem
        self.numbers = itertools.count(1)

    @property
    def config(self) -> str:
        """The configuration of every host."""
        certificate = ssl.PEM_cert_to_DER_cert(Path(self.sandbox.signer_certificate).read_text())
        return (
            f"---\n:deploy_control_endpoint: {SERVICE_URL}\n:s3_endpoint_override: {SERVICE_URL}\n"
            f":ca_bundle: {CA_BUNDLE}\n"
            f":deployment_signer_fingerprints: '{hashlib.sha256(certificate).hexdigest()}'\n"
            ":wait_between_runs: 1\n"
        )


@contextlib.contextmanager
def running_site(directory: Path) -> Iterator[Site]:
    """Make a lab with a sandbox in it; about three seconds."""
    with HostLab() as lab:
        lab.network.serve_metadata_address()
        with contextlib.ExitStack() as stack:
            with lab.network.entered():
                # At all addresses, so that it is the metadata service too, which has port 80.
                everywhere = ("--listen", "0.0.0.0", "--port", "80")
                sandbox = stack.enter_context(running_sandbox(directory, *everywhere))
                ca_pem = stack.enter_context(tls_front(host_network.MACHINE_ADDRESS, 443, behind=80))
            yield Site(lab, sandbox, ca_pem)


class Fleet:
    """The hosts of one test, an application and a deployment group for them."""

    def __init__(self, site: Site, directory: Path) -> None:
        self.site = site
        self.sandbox = site.sandbox
        self.directory = directory
        self.number = next(site.numbers)
        self.application = f"application-{self.number}"
        self.hosts: list[BootedHost] = []
        self.names: dict[str, str] = {}
        self.killed_on_purpose = False
        """Whether the test makes systemd's watchdog kill an agent."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[Fleet]:
        """Let this thread be at the machine's end of the hosts' network; the hosts go off at the end."""
        with self.site.lab.network.entered():
            try:
                yield self
                for host in self.hosts:
                    _has_no_defects(host, killed=self.killed_on_purpose)
            finally:
                for host in self.hosts:
                    if host.is_on:
                        host.power_cut(restore=False)

    def wheelhouse(self, version: str | None = None) -> Wheelhouse:
        """The wheelhouse of these sources, or of the same under another version; hosts find it at its ``source``."""
        with self.site.lab.outside():  # where the package index is
            return wheelhouse(version)

    # -- hosts

    def create(self, name: str, image: str = "debian12", *, installed: bool = True, disk: str = "1g") -> BootedHost:
        """Make a host, switched off; with ``installed``, of an image that the agent was baked into."""
        with self.site.lab.outside():
            layers = [installed_layer(image)] if installed else []
        full = f"{name}-{self.number}"
        read_only = {INSIDE: wheelhouses()}
        host = self.site.lab.create(full, image, disk=disk, layers=layers, read_only=read_only)
        self.hosts.append(host)
        host.put(CA_BUNDLE, self.site.ca_pem)
        if installed:
            host.put(CONFIG, self.site.config)
        return host

    def register(self, host: BootedHost) -> None:
        """Register a host as an on-premises instance and put the file there that says who it is."""
        path = self.sandbox.register_on_premises(host.name, {"Application": self.application})
        host.put(ON_PREMISES, path, mode=0o600)
        self.names[host.name] = f"arn:aws:iam::{self.sandbox.account}:user/{host.name}"

    def join(self, name: str = "web", image: str = "debian12", *, disk: str = "1g") -> BootedHost:
        """Boot a host of an image with the agent and wait until it polls."""
        host = self.create(name, image, disk=disk)
        self.register(host)
        host.start()
        self.wait_for_poll(host)
        return host

    def wait_for_poll(self, host: BootedHost) -> None:
        """Wait until the host's agent waits for a command."""
        self.sandbox.wait_for_poll(self.names[host.name])

    # -- deployments

    def group(self, **settings: Any) -> None:
        """Make the deployment group of all on-premises hosts of this test."""
        self.sandbox.create_group(self.application, "group", {"Application": self.application}, **settings)

    def upload(self, source: Path) -> dict[str, Any]:
        """Put a revision's directory into S3, packed."""
        name = f"{source.name}.tgz"
        data = pack(source, self.directory / f"packed-{name}", "tgz").read_bytes()
        return self.sandbox.upload(f"{self.application}-bundles", name, data, bundle_type="tgz")

    def begin(self, bundle: Mapping[str, Any], **options: Any) -> str:
        """Create a deployment; give its id."""
        return self.sandbox.deploy(self.application, "group", bundle, **options)

    def deploy(self, bundle: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Deploy and wait for the end; gives the service's description of the deployment."""
        return self.sandbox.wait(self.begin(bundle, **options))

    def failure(self, deployment: str, host: BootedHost) -> dict[str, Any]:
        """The failed lifecycle event of a deployment on a host."""
        target = self.sandbox.targets(deployment)[host.name]
        (failed,) = [event for event in target["lifecycleEvents"] if event["status"] == "Failed"]
        return failed

    def completions(self, host: BootedHost) -> list[dict[str, Any]]:
        """What a host has reported of its commands and the service has accepted, in order."""
        calls = self.sandbox.journal("PutHostCommandComplete")
        mine = [entry for entry in calls if "error" not in entry and entry["caller"].endswith(f"/{host.name}")]
        return [entry["input"] for entry in mine]


def _has_no_defects(host: BootedHost, *, killed: bool) -> None:
    """Check that nothing went wrong on a host that no test can mean."""
    log = host.root / LOG.lstrip("/")
    text = log.read_text() if log.exists() else ""
    for sign in ("Traceback", "A defect of the agent"):
        assert sign not in text, text
    if not killed:
        assert "codedeploy-agent.service: Failed with result" not in host.journal()


def exists(host: BootedHost, path: str) -> Callable[[], bool]:
    """A question for until(): whether a path is there on a host."""
    return lambda: host.run(["test", "-e", path], check=False).status == 0


def status(host: BootedHost) -> dict[str, Any]:
    """What the agent of a host notes about itself; empty as long as it has noted nothing."""
    found: dict[str, Any] = json.loads(host.run(f"cat {ROOT}/agent-state/status.json || echo '{{}}'").stdout)
    return found


def service_revision(directory: Path, version: str, *, hooks: Mapping[str, str] | None = None) -> Path:
    """Make a revision of a program that runs as a service of systemd and says its version on port 8080.

    Other ``hooks`` are shell scripts, by their events.
    """
    scripts = {
        "ApplicationStop": "systemctl stop hello",
        "AfterInstall": "systemctl daemon-reload",
        "ApplicationStart": "systemctl enable hello && systemctl restart hello",
        "ValidateService": f"python3 /srv/hello/ask.py {version}",
        **(hooks or {}),
    }
    for name, text in {
        "appspec.yml": _APPSPEC + "".join(_HOOK.format(event=event) for event in scripts),
        "hello.service": _UNIT,
        "app/hello.py": _PROGRAM,
        "app/ask.py": _ASK,
        "app/version": version,
        **{f"scripts/{event}.sh": f"#!/bin/sh\n{text}\n" for event, text in scripts.items()},
    }.items():
        path = directory / version / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)
    return directory / version


def said(host: BootedHost) -> str:
    """The version that the deployed service tells, asked on the host."""
    return host.run(["python3", "/srv/hello/ask.py"]).stdout


_APPSPEC = """\
version: 0.0
os: linux
files:
  - source: app
    destination: /srv/hello
  - source: hello.service
    destination: /etc/systemd/system
file_exists_behavior: OVERWRITE
permissions:
  - object: /srv
    pattern: hello
    owner: root
    group: www-data
    mode: "750"
    type: [directory]
  - object: /srv/hello
    pattern: "**"
    owner: root
    group: www-data
    mode: "640"
    type: [file]
hooks:
"""
_HOOK = "  {event}:\n    - location: scripts/{event}.sh\n"
_UNIT = """\
[Service]
User=www-data
ExecStart=python3 /srv/hello/hello.py
[Install]
WantedBy=multi-user.target
"""
_PROGRAM = """\
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(open("/srv/hello/version", "rb").read())
    def log_message(self, *_):
        pass  # the journal of a failed test has more to tell

HTTPServer(("0.0.0.0", 8080), Answer).serve_forever()
"""
_ASK = """\
import sys, time, urllib.request
for _ in range(2400):
    try:
        found = urllib.request.urlopen("http://127.0.0.1:8080").read().decode()
        break
    except OSError:
        time.sleep(0.05)
print(found, end="")
sys.exit(sys.argv[1:] not in ([], [found]))
"""
WAITING = "touch /run/here; until [ -e /run/go ]; do sleep 0.05; done"
"""A hook that says that it runs, and then waits for the test."""
