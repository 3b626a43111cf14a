"""``codedeploy-agent update``: print how this agent is updated, as it never updates itself."""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from agent import __version__
from agent.errors import AgentError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare nothing: the command has no options."""


def run(_: argparse.Namespace) -> int:
    """Raise AgentError with the command that upgrades this installation."""
    from agent.fleet.places import VERSIONS

    root, installed, _version = os.path.realpath(sys.prefix).partition(f"{VERSIONS}/")
    raise AgentError(
        f"This agent, version {__version__} in {sys.prefix}, does not update itself.",
        remedy=_with_install(root) if installed else _with_pip(),
    )


def _with_install(root: str) -> str:
    place = ["--root", shlex.quote(root)] if root else []
    command = [*_as_root(), "codedeploy-agent install", *place, '--source "$AGENT_SOURCE" --sha256 "$AGENT_SHA256"']
    return (
        "Make a wheelhouse of the new version with userdata/build-wheelhouse and put it where this host can fetch it."
        " Then paste the two lines that build-wheelhouse printed (AGENT_SOURCE with the new place), and this line:\n"
        f"    {' '.join(command)}\n"
        "It restarts the service; a lifecycle event in progress goes on meanwhile."
    )


def _with_pip() -> str:
    command = [*_as_root(sys.prefix), shlex.quote(sys.executable), "-m pip install --upgrade ."]
    return (
        "Change to a copy of the new version's repository and paste this line:\n"
        f"    {' '.join(command)}\n"
        "Then restart the agent where it runs; a lifecycle event in progress goes on meanwhile."
    )


def _as_root(directory: str = "/") -> list[str]:
    """Return ``sudo`` for a user who may not write to a directory."""
    return [] if os.access(directory, os.W_OK) else ["sudo"]
