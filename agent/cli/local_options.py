"""The local command's options: the official ones with their short forms and rules, and our own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from agent import __version__
from agent.cli.help_format import RawHelpFormatter
from agent.errors import UsageError
from agent.local.request import DEFAULT_EVENTS, DEFAULT_GROUP, DEFAULT_GROUP_NAME

DESCRIPTION = (
    "Deploy an application revision to this machine, event by event, as the CodeDeploy service would drive it."
)

EPILOG = f"""\
Without options the current directory is deployed. Exit status: 0 if the deployment succeeded, 1 if not.

lifecycle events:
  {", ".join(DEFAULT_EVENTS[:6])},
  {", ".join(DEFAULT_EVENTS[6:])}
  DownloadBundle and Install always run. Events of your own run if the AppSpec has scripts for them.

examples:
  codedeploy-local
  codedeploy-local --dry-run
  codedeploy-local -l release.tgz -t tgz -g web -c ./codedeployagent.yml
  codedeploy-local -e ApplicationStop,DownloadBundle,BeforeInstall,Install
"""


class _Once(argparse.Action):
    """Stores a value, and refuses to be given twice, as the official command does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        given = namespace.__dict__.setdefault("given", set())
        if self.dest in given:
            parser.error(f"{option_string} was given twice")
        given.add(self.dest)
        setattr(namespace, self.dest, True if self.nargs == 0 else values)


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with the usage text."""
        raise UsageError(f"{message}.", remedy=f"See {self.prog} --help.\n{self.format_usage().rstrip()}")


def make_parser(prog: str) -> argparse.ArgumentParser:
    """The parser of the local command; its values are texts, None where an option is absent."""
    parser = Parser(
        prog=prog,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=RawHelpFormatter,
        add_help=False,
    )

    def value(*names: str, metavar: str, text: str) -> None:
        parser.add_argument(*names, action=_Once, metavar=metavar, help=text)

    def flag(*names: str, text: str) -> None:
        parser.add_argument(*names, action=_Once, nargs=0, help=text)

    value(
        "-l",
        "--bundle-location",
        metavar="LOCATION",
        text="directory, archive, s3://bucket/key or GitHub URL (current directory)",
    )
    value("-t", "--type", metavar="TYPE", text="directory, tar, tgz or zip (directory)")
    value(
        "-b",
        "--file-exists-behavior",
        metavar="BEHAVIOR",
        text="DISALLOW, OVERWRITE or RETAIN files that are there already (DISALLOW); the AppSpec's value comes first",
    )
    value("-g", "--deployment-group", metavar="ID", text=f"directory name and identity of the group ({DEFAULT_GROUP})")
    value(
        "-d",
        "--deployment-group-name",
        metavar="NAME",
        text=f"DEPLOYMENT_GROUP_NAME for scripts ({DEFAULT_GROUP_NAME})",
    )
    value("-a", "--application-name", metavar="NAME", text="APPLICATION_NAME for scripts (the location)")
    value(
        "-e", "--events", metavar="LIST", text="lifecycle events to run, separated by commas (all, in the order below)"
    )
    value(
        "-c",
        "--agent-configuration-file",
        "--config-file",
        metavar="PATH",
        text="the agent's configuration file",
    )
    value(
        "-A", "--appspec-filename", metavar="NAME", text="AppSpec file in the revision (appspec.yml, else appspec.yaml)"
    )
    value("--github-token", metavar="TOKEN", text="token for a private GitHub repository (or CODEDEPLOY_GITHUB_TOKEN)")
    flag("--traffic", text="leave the load balancers of the setting traffic_control meanwhile, as the agent does")
    flag("--dry-run", text="show what would change on this machine, and change nothing")
    flag("--json", text="print one JSON object at the end instead of lines")
    parser.add_argument("-h", "--help", action="help", help="show this text")
    parser.add_argument("-v", "--version", action="version", version=f"{prog} {__version__}", help="show the version")
    return parser
