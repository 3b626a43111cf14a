"""``codedeploy-agent uninstall``: remove the agent from this host."""

from __future__ import annotations

import argparse

from agent.cli.output import Writer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.epilog = "What was deployed stays in any case. Exit status: 0 gone (also if it was before), 1 not."
    parser.add_argument(
        "--purge", action="store_true", help="also the deployments' records, configuration, registration and logs"
    )
    parser.add_argument("--force", action="store_true", help="also while a deployment is in progress")
    parser.add_argument("--root", metavar="PATH", default="/", help="remove what is below this directory (/)")


def run(options: argparse.Namespace) -> int:
    """Uninstall, and say what was done; 0. Raises AgentError."""
    import agent.filesystem.reasons  # noqa: F401  # says why something failed, and may be gone itself by then
    from agent.fleet.uninstall import UninstallOptions, uninstall

    out = Writer(1)
    was_there = uninstall(UninstallOptions(options.root, options.purge, options.force), tell=out.line)
    out.line("The agent is removed." if was_there else "The agent was not installed here by this command.")
    return 0
