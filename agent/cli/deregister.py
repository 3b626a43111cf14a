"""``codedeploy-agent deregister``: undo what ``register`` did."""

from __future__ import annotations

import argparse

from agent.cli.output import Writer
from agent.cli.register import add_common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.epilog = "An IAM user is removed only if register (or aws deploy register) has made it for this name."
    parser.add_argument("--instance-name", metavar="NAME", help="name of the host (as the file says)")
    add_common(parser)
    parser.add_argument("--keep-iam-user", action="store_true", help="leave the IAM user")
    parser.add_argument("--keep-file", action="store_true", help="leave the host's registration file")


def run(options: argparse.Namespace) -> int:
    """Deregister, and say what was done; 0. Raises AgentError."""
    from agent.fleet.api import ApiOptions
    from agent.fleet.register import DeregisterOptions, deregister

    request = DeregisterOptions(
        options.file,
        ApiOptions(options.region, options.profile, options.endpoint_url),
        instance_name=options.instance_name,
        keep_user=options.keep_iam_user,
        keep_file=options.keep_file,
    )
    deregister(request, tell=Writer(1).line)
    return 0
