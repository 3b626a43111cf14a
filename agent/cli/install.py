"""``codedeploy-agent install``: install or upgrade the agent on this host."""

from __future__ import annotations

import argparse

from agent.cli.option_types import filled, region
from agent.cli.output import Writer

_EPILOG = """\
A wheelhouse is made with userdata/build-wheelhouse, which prints its SHA-256: that of the archive, or for a directory
that of its file SHA256SUMS. Without --source, --version chooses a version that is still there. Running this again with
the same source changes nothing; an upgrade leaves deployments in progress alone. Exit status: 0 installed, 1 not, 64
the command line is wrong.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "--source", metavar="PLACE", type=filled, help="wheelhouse: directory, .tar.gz, https:// or s3://bucket/key"
    )
    parser.add_argument("--sha256", metavar="HEX", help="SHA-256 of the wheelhouse; needed with --source")
    parser.add_argument("--version", metavar="VERSION", type=filled, help="refuse a wheelhouse with any other version")
    parser.add_argument("--config", metavar="FILE", type=filled, help="configuration for a host that has none yet")
    parser.add_argument(
        "--proxy", metavar="URL", type=filled, help="proxy for the download and for a new configuration"
    )
    parser.add_argument(
        "--region", metavar="REGION", type=region, help="region to ask for an s3:// source (the host's)"
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--start", dest="start", action="store_true", default=True, help="start the service (default)")
    start.add_argument("--no-start", dest="start", action="store_false", help="only enable it, for an image")
    parser.add_argument("--take-over", action="store_true", help="replace an official agent, keeping its state")
    parser.add_argument("--force", action="store_true", help="take over though it seems to be deploying")
    parser.add_argument("--python", metavar="PATH", type=filled, help="Python to build with (the one that runs this)")
    parser.add_argument(
        "--bin-directory",
        metavar="PATH",
        type=filled,
        help="directory for links to the commands (as before, or /usr/local/bin)",
    )
    parser.add_argument(
        "--root", metavar="PATH", type=filled, default="/", help="install below this directory, and start nothing (/)"
    )


def run(options: argparse.Namespace) -> int:
    """Install, and say what was done; 0. Raises AgentError."""
    from agent.fleet.install import AgentInstallOptions, install

    fields = {name: getattr(options, name) for name in AgentInstallOptions._fields}
    out = Writer(1)
    done = install(AgentInstallOptions(**fields), tell=out.line)
    before = f" (before: {done.previous})" if done.previous else ""
    out.line(f"Version {done.version} {'is installed' if done.changed else 'was installed already'}{before}.")
    return 0
