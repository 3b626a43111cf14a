"""The files that a sandbox writes for those who use it."""

from __future__ import annotations

import json
import os
import shlex

from agent.filesystem.durable import remove_if_there, replace
from agent.sandbox.sandbox import SandboxAccess

DESCRIPTION = "sandbox.json"
ENVIRONMENT = "env.sh"
CERTIFICATE = "signer.pem"
AGENT_SETTINGS = "codedeployagent.yml"
CA_BUNDLE = "ca.pem"
WRITTEN = (DESCRIPTION, ENVIRONMENT, CERTIFICATE, AGENT_SETTINGS, CA_BUNDLE)
LOCK = ".codedeploy-sandbox.lock"
"""Also tells that the directory was a sandbox's before, so that its files may be written again."""


def write_files(directory: str, access: SandboxAccess, certificate: str, ca_pem: str | None = None) -> None:
    """Write all files; ``sandbox.json`` comes last, so that its being there means that the sandbox is ready.

    What holds secrets has the mode 0600. ``ca_pem`` is the CA of a sandbox that serves TLS. Raises OSError.
    """
    ca_bundle = os.path.join(directory, CA_BUNDLE) if ca_pem else None
    if ca_bundle and ca_pem:
        replace(ca_bundle, ca_pem.encode(), mode=0o644)
    signer = os.path.join(directory, CERTIFICATE)
    replace(signer, certificate.encode(), mode=0o644)
    replace(os.path.join(directory, ENVIRONMENT), environment(access, ca_bundle).encode(), mode=0o600)
    replace(os.path.join(directory, AGENT_SETTINGS), agent_settings(directory, access, ca_bundle).encode(), mode=0o644)
    description = {
        **access._asdict(), "signer_certificate": signer, "ca_bundle": ca_bundle, "pid": os.getpid()
    }  # fmt: skip
    replace(os.path.join(directory, DESCRIPTION), json.dumps(description, indent=2).encode() + b"\n", mode=0o600)


def remove_files(directory: str) -> None:
    """Remove what lets others believe that the sandbox still runs."""
    for name in WRITTEN:
        remove_if_there(os.path.join(directory, name))


def environment(access: SandboxAccess, ca_bundle: str | None) -> str:
    """Return the shell lines that point the AWS CLI and SDKs to the sandbox, and nowhere else."""
    values = {
        "AWS_ENDPOINT_URL": access.url,
        "AWS_ACCESS_KEY_ID": access.access_key_id,
        "AWS_SECRET_ACCESS_KEY": access.secret_access_key,
        "AWS_DEFAULT_REGION": access.region,
        "AWS_REGION": access.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        # The second one is what the official agent reads.
        **({"AWS_CA_BUNDLE": ca_bundle, "SSL_CERT_FILE": ca_bundle} if ca_bundle else {}),
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items()]
    return "".join([*lines, "unset AWS_SESSION_TOKEN AWS_PROFILE AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL_CODEDEPLOY\n"])


def agent_settings(directory: str, access: SandboxAccess, ca_bundle: str | None) -> str:
    """Return the settings of an agent that works below the sandbox's directory and deploys from the sandbox."""
    agent = os.path.join(directory, "agent")
    values = {
        "root_dir": os.path.join(agent, "deployment-root"),
        "log_dir": os.path.join(agent, "log"),
        "pid_dir": os.path.join(agent, "state"),
        "on_premises_config_file": os.path.join(directory, "codedeploy.onpremises.yml"),
        "deploy_control_endpoint": access.url,
        "s3_endpoint_override": access.url,
        "deployment_signer_ca_file": os.path.join(directory, CERTIFICATE),
        **({"ca_bundle": ca_bundle} if ca_bundle else {}),
    }
    lines = [f":{name}: {json.dumps(value)}\n" for name, value in values.items()]
    return "".join(["---\n", *lines, ":wait_between_runs: 1\n"])
