"""``codedeploy-agent``: the daemon, and everything else that is not a local deployment."""

from __future__ import annotations

import argparse
import atexit
import gc
import re
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

from agent import __version__
from agent.cli.help_format import HelpFormatter
from agent.cli.output import Writer
from agent.errors import AgentError, UsageError

PROGRAM = "codedeploy-agent"

USAGE = 64
"""EX_USAGE of sysexits.h; the official command ends so too."""

_CONFIG_OPTIONS = ("--config-file", "--config_file")


class _Command(NamedTuple):
    """A command: its line in the help, and the module that has it (none: it is handled here).

    One that ``undoes`` hears of a signal as an exception, so that it can take back what it has begun.
    """

    summary: str
    module: str = ""
    undoes: bool = False


_COMMANDS = {
    "start": _Command("run the agent, in the foreground, until it is stopped", "daemon"),
    "stop": _Command("stop the agent; deployments in progress are not ended", "daemon"),
    "restart": _Command("stop the agent and run it again", "daemon"),
    "pause": _Command("take no new deployment on; those that have begun go on", "pause"),
    "resume": _Command("take new deployments on again", "pause"),
    "status": _Command("say whether the agent is running, what it does and whether it is well", "status"),
    "deployments": _Command("show what deployments did, compare revisions, remove old ones", "deployments"),
    "logs": _Command("show the logs of the agent and of scripts as one stream, and follow them", "logs"),
    "validate": _Command("find every mistake in an AppSpec file and its revision", "validate"),
    "deploy-local": _Command("deploy a revision to this machine (the same as codedeploy-local)"),
    "settings": _Command("show the settings, what they mean and their values", "settings"),
    "install": _Command("install or upgrade the agent on this host, or go back a version", "install", undoes=True),
    "uninstall": _Command("remove the agent from this host", "uninstall", undoes=True),
    "register": _Command("make this host an on-premises instance", "register", undoes=True),
    "deregister": _Command("undo what register did", "deregister", undoes=True),
    "doctor": _Command("find what is wrong with the set-up of this host, and repair what is safe", "doctor"),
    "traffic": _Command("show whether this host is in service; take it out or put it back by hand", "traffic"),
    "sandbox": _Command("run a CodeDeploy-compatible service on this machine, to try and test with", "sandbox"),
    "update": _Command("say how this agent is updated", "update"),
    "help": _Command("show the help of a command"),
}
"""Every command; a module is imported only when its command is the one that was asked for."""


class _Parser(argparse.ArgumentParser):
    """A parser that ends with ``USAGE`` when the command line is wrong.

    With ``mixed`` an option may stand between two words of a command: up to Python 3.12 the second is refused else.
    """

    mixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # noqa: ANN401 - as the library has it
        if not self.mixed:
            return super().parse_known_args(args, namespace)
        self.mixed = False  # what follows asks here again
        return self.parse_known_intermixed_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}{self._suggestion(message)}\n")

    def _suggestion(self, message: str) -> str:
        """Return what the first word that a message quotes was probably meant to be, as the end of the message."""
        from agent.text.suggest import did_you_mean

        found = re.search(r"invalid choice: '([^']+)'|unrecognized arguments: (\S+)", message)
        if found is None:
            return ""
        known = [
            word for action in self._actions for word in (action.choices if found[1] else action.option_strings) or ()
        ]
        advice = did_you_mean(found[1] or found[2].partition("=")[0], known)
        return f". {advice}" if advice else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process if None); give its exit status."""
    atexit.register(gc.freeze)  # spares the end of the process a search for cycles in all that was imported: 10 ms
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    before, command, after = _split(arguments)
    surplus: list[str] = []
    if command == "help":
        command = "".join(word for word in after[:1] if not word.startswith("-"))
        surplus = [word for word in after if word not in (command, "-h", "--help")]
        arguments = [*before, *filter(None, [command]), "--help"]
    alone = command in _COMMANDS and not before  # then nothing can show the other commands
    parser = _make_parser((command,), {command: _COMMANDS[command]} if alone else _COMMANDS)
    try:
        if "--help" in arguments:  # which argparse carries out before it looks at the rest
            surplus += parser.parse_known_args(before)[1]
        if surplus:
            parser.error(f"unrecognized arguments: {' '.join(surplus)}")
        if command == "deploy-local":
            return _deploy_locally(parser.parse_args(before), arguments[len(before) + 1 :])
        options, unknown = parser.parse_known_args(arguments)
        if unknown:
            refuse = parser.error if set(unknown) & set(before) else options.refuse
            refuse(f"unrecognized arguments: {' '.join(unknown)}")
    except SystemExit as end:
        sys.stdout.flush()
        return int(end.code or 0)
    if "run" not in options:
        parser.print_help()
        return 0
    if getattr(options, "config_file", None) is None:
        options.config_file = options.config_file_before
    if _COMMANDS[command].undoes:
        from agent.cli.interrupts import raise_on_signals

        raise_on_signals()
    return _run(options.run, options)


def _run(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    try:
        return run(options)
    except AgentError as error:
        Writer(2).line(f"{PROGRAM}: {error}")
        return USAGE if isinstance(error, UsageError) else 1
    except (OSError, MemoryError) as error:
        from agent.filesystem.reasons import place_and_reason, remedy_for

        Writer(2).line(f"{PROGRAM}: {place_and_reason(error)}. {remedy_for(error)}".rstrip())
        return 1
    except KeyboardInterrupt as stop:
        number = int(getattr(stop, "number", signal.SIGINT))
        if str(stop):
            Writer(2).line(f"{PROGRAM}: stopped by {stop}.")
        return 128 + number


def _split(arguments: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """The options before the command, the command (empty if there is none) and what follows it."""
    index = 0
    while index < len(arguments) and arguments[index].startswith("-"):
        index += 2 if arguments[index] in _CONFIG_OPTIONS else 1
    return list(arguments[:index]), "".join(arguments[index : index + 1]), list(arguments[index + 1 :])


def _deploy_locally(options: argparse.Namespace, arguments: list[str]) -> int:
    from agent.cli import local

    named = [f"--config-file={options.config_file_before}"] if options.config_file_before else []
    return local.main([*named, *arguments], prog=f"{PROGRAM} deploy-local")


def full_parser() -> argparse.ArgumentParser:
    """Return the parser with the options of every command, for the manual and the shells' completions."""
    return _make_parser(_COMMANDS, _COMMANDS)


def _make_parser(chosen: Collection[str], commands: Mapping[str, _Command]) -> _Parser:
    """Return a parser that knows the commands, and the options of those that were chosen."""
    parser = _Parser(
        prog=PROGRAM,
        description="A CodeDeploy-compatible deployment agent for Linux hosts.",
        allow_abbrev=False,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "-v", "--version", action="version", version=f"{PROGRAM} {__version__}", help="show the version"
    )
    parser.add_argument(
        "--config-file", dest="config_file_before", metavar="PATH", help="the agent's configuration file"
    )
    parser.add_argument("--config_file", dest="config_file_before", help=argparse.SUPPRESS)
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    for name, row in commands.items():
        description = f"{row.summary[0].upper()}{row.summary[1:]}."
        sub = parsers.add_parser(name, help=row.summary, description=description, formatter_class=HelpFormatter)
        sub.set_defaults(refuse=sub.error)
        if name in chosen:
            _add_command(sub, name, row)
    return parser


def _add_command(parser: _Parser, name: str, row: _Command) -> None:
    if not row.module:
        return
    module = import_module(f"agent.cli.{row.module}")
    if row.module in ("daemon", "pause"):  # which have several commands
        module.add_arguments(parser, name)
        parser.set_defaults(run=getattr(module, name))
    else:
        module.add_arguments(parser)
        parser.mixed = True
        parser.set_defaults(run=module.run)
