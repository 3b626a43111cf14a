"""The environment of a script: what the agent inherited, without its secrets, and the deployment's variables."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping

from agent.hooks.accounts import Account

DEPLOYMENT_VARIABLES = (
    "LIFECYCLE_EVENT",
    "DEPLOYMENT_ID",
    "APPLICATION_NAME",
    "DEPLOYMENT_GROUP_NAME",
    "DEPLOYMENT_GROUP_ID",
    "BUNDLE_BUCKET",
    "BUNDLE_KEY",
    "BUNDLE_VERSION",
    "BUNDLE_ETAG",
    "BUNDLE_COMMIT",
)
"""The variables that describe a deployment; inherited ones describe another deployment and are not passed on."""

HOST_VARIABLES = ("AWS_REGION", "AWS_HOST_IDENTIFIER")
"""What the scripts of on-premises hosts rely on; neither is a secret."""

# Credentials themselves and the names of files and addresses that give them away.
_CREDENTIALS = frozenset(
    {
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CREDENTIALS_FILE",
        "AWS_CREDENTIAL_EXPIRATION",
        "AWS_CREDENTIAL_FILE",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SECRET_KEY",
        "AWS_SECURITY_TOKEN",
        "AWS_SESSION_TOKEN",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "CODEDEPLOY_GITHUB_TOKEN",
    }
)

# What stands before a proxy's host: the last @ counts, since a password may hold one that nobody has encoded.
_USER_OF_PROXY = re.compile(r"^([a-z][a-z0-9+.-]*://)?.*@", re.IGNORECASE | re.DOTALL)

# Addressed to the agent's own process: a service that a script starts must not answer for it.
_AGENT_INTERNALS = frozenset(
    {
        "CODEDEPLOY_AGENT_CONFIG_FILE",
        "CODEDEPLOY_DEVELOPER_MODE",
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    }
)

_LOADER = frozenset({"LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD"})
_ALLOWLIST = frozenset({"PATH", "HOME", "USER"})


def script_environment(
    inherited: Mapping[str, str],
    variables: Mapping[str, str],
    *,
    account: Account | None,
    only_allowlist: bool = False,
    strip_loader: bool = False,
) -> dict[str, str]:
    """The environment that a script starts with; never holds credentials that the agent was given.

    ``account`` is the user the script runs as when that was asked for; its HOME, USER, LOGNAME and SHELL are set.
    ``only_allowlist`` leaves PATH, HOME and USER of what was inherited, ``strip_loader`` drops what makes the dynamic
    loader load libraries; both as the settings of the official agent 2.x. ``variables`` win over everything.
    """
    hidden = _CREDENTIALS | _AGENT_INTERNALS | set(DEPLOYMENT_VARIABLES) | (_LOADER if strip_loader else set())
    environment = {name: _without_password(name, value) for name, value in inherited.items() if name not in hidden}
    _leave_virtual_environment(environment)
    if account is not None:
        environment.update(HOME=account.home, USER=account.name, LOGNAME=account.name, SHELL=account.shell)
    if only_allowlist:
        environment = {name: value for name, value in environment.items() if name in _ALLOWLIST}
    environment.update(variables)
    return environment


def _without_password(name: str, value: str) -> str:
    """Return a variable's value, for HTTPS_PROXY and its like without user name and password."""
    return _USER_OF_PROXY.sub(r"\1", value) if name.lower().endswith("_proxy") else value


def _leave_virtual_environment(environment: dict[str, str]) -> None:
    """Undo the activation of the agent's own virtual environment, so that a script's ``python3`` is the host's."""
    if environment.get("VIRTUAL_ENV") != sys.prefix:
        return
    programs = os.path.join(sys.prefix, "bin")
    path = environment.get("PATH", "").split(os.pathsep)
    environment["PATH"] = os.pathsep.join(directory for directory in path if directory != programs)
    environment.pop("VIRTUAL_ENV")
    environment.pop("VIRTUAL_ENV_PROMPT", None)
