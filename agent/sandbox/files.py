"""The files that a sandbox writes for those who use it."""

from __future__ import annotations

import json
import os
import shlex

from agent.filesystem.durable import remove_if_there, replace
from agent.sandbox.sandbox import Access

DESCRIPTION = "sandbox.json"
ENVIRONMENT = "env.sh"
CERTIFICATE = "signer.pem"
AGENT_SETTINGS = "codedeployagent.yml"
LOCK = ".codedeploy-sandbox.lock"
"""Also tells that the folder was a sandbox's before, so that its files may be written again."""


def write_files(folder: str, access: Access, certificate: str) -> None:
    """Write all files; ``sandbox.json`` comes last, so that its being there means that the sandbox is ready.

    What holds secrets has the mode 0600. Raises OSError.
    """
    signer = os.path.join(folder, CERTIFICATE)
    replace(signer, certificate.encode(), mode=0o644)
    replace(os.path.join(folder, ENVIRONMENT), environment(access).encode(), mode=0o600)
    replace(os.path.join(folder, AGENT_SETTINGS), agent_settings(folder, access).encode(), mode=0o644)
    description = {**access._asdict(), "signer_certificate": signer, "pid": os.getpid()}
    replace(os.path.join(folder, DESCRIPTION), json.dumps(description, indent=2).encode() + b"\n", mode=0o600)


def remove_files(folder: str) -> None:
    """Remove what lets others believe that the sandbox still runs."""
    for name in (DESCRIPTION, ENVIRONMENT, CERTIFICATE, AGENT_SETTINGS):
        remove_if_there(os.path.join(folder, name))


def environment(access: Access) -> str:
    """Give the shell lines that point the AWS CLI and SDKs to the sandbox, and nowhere else."""
    values = {
        "AWS_ENDPOINT_URL": access.url,
        "AWS_ACCESS_KEY_ID": access.access_key_id,
        "AWS_SECRET_ACCESS_KEY": access.secret_access_key,
        "AWS_DEFAULT_REGION": access.region,
        "AWS_REGION": access.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items()]
    return "".join([*lines, "unset AWS_SESSION_TOKEN AWS_PROFILE AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL_CODEDEPLOY\n"])


def agent_settings(folder: str, access: Access) -> str:
    """Give the settings of an agent that works below the sandbox's folder and deploys from the sandbox."""
    agent = os.path.join(folder, "agent")
    values = {
        "root_dir": os.path.join(agent, "deployment-root"),
        "log_dir": os.path.join(agent, "log"),
        "pid_dir": os.path.join(agent, "state"),
        "on_premises_config_file": os.path.join(folder, "codedeploy.onpremises.yml"),
        "deploy_control_endpoint": access.url,
        "s3_endpoint_override": access.url,
        "deployment_signer_ca_file": os.path.join(folder, CERTIFICATE),
    }
    lines = [f":{name}: {json.dumps(value)}\n" for name, value in values.items()]
    return "".join(["---\n", *lines, ":wait_between_runs: 1\n"])
