"""``codedeploy-agent``: the commands of the agent."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from agent import __version__
from agent.cli.output import Writer
from agent.errors import AgentError

PROGRAM = "codedeploy-agent"

_USAGE = 64  # EX_USAGE of sysexits.h; the official command ends so too

_SUMMARIES = {
    "validate": "find every mistake in an AppSpec file and its revision",
    "deploy-local": "deploy a revision to this machine (the same as codedeploy-local)",
    "settings": "show the settings, what they mean and their values",
}


class _Parser(argparse.ArgumentParser):
    """The parser of the command's own line; unknown commands and options end it as they end the official command."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(_USAGE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process if None); give its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["deploy-local"]:
        from agent.cli import local  # each command imports only what it needs, here and below

        return local.main(arguments[1:], prog=f"{PROGRAM} deploy-local")
    parser = _make_parser(arguments[0] if arguments else "")
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:
        sys.stdout.flush()
        return int(end.code or 0)
    if "run" not in options:
        parser.print_help()
        return 0
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except AgentError as error:
        Writer(2).line(f"{PROGRAM}: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def _make_parser(command: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description="A CodeDeploy-compatible deployment agent for Linux hosts.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}", help="show the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=argparse.ArgumentParser)
    for name, summary in _SUMMARIES.items():
        sub = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name != command or name == "deploy-local":
            continue
        if name == "validate":
            from agent.cli import validate

            validate.add_arguments(sub)
            sub.set_defaults(run=validate.run)
        else:
            from agent.cli import settings

            settings.add_arguments(sub)
            sub.set_defaults(run=settings.run)
    return parser
