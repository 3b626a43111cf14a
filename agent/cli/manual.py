"""The manual's pages as roff, made of the commands' parsers and the table of settings when the agent is built."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping

from agent import __version__
from agent.cli import local_options, main
from agent.config import table
from agent.config.file import DEFAULT_FILES, ENVIRONMENT_VARIABLE
from agent.config.settings import RETIRED, TABLE

AGENT = main.PROGRAM
LOCAL = "codedeploy-local"
SETTINGS = "codedeployagent.yml"

_SECTIONS = {AGENT: 8, LOCAL: 1, SETTINGS: 5}
_SUMMARIES = {
    AGENT: "a CodeDeploy-compatible deployment agent for Linux hosts",
    LOCAL: "deploy an application revision to this machine",
    SETTINGS: "the settings of the deployment agent",
}
_SETTINGS_TEXT = (
    "The agent and codedeploy-local read this YAML file when they start. A key may begin with a colon. A setting that"
    " the file leaves out has its default.",
    f"The command line may name another file, and so may the variable {ENVIRONMENT_VARIABLE}. Else the first that"
    f" exists counts: {' or '.join(DEFAULT_FILES)}. Files that end in .yml in the directory codedeployagent.d beside it"
    " are read after it, in the order of their names; the last value counts.",
    "codedeploy-agent settings shows every setting with the value that it has now.",
)
_ESCAPES = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
_USAGE_WORD = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]|\S+")


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the complete parser of each program: the commands' own options, and those of deploy-local too."""
    agent = main.full_parser()
    for action in _subcommands(agent):
        named = action.choices
        named["deploy-local"] = local_options.make_parser(f"{AGENT} deploy-local")
        named["help"].add_argument("command", metavar="COMMAND", nargs="?", choices=list(named), help="the command")
    return {AGENT: agent, LOCAL: local_options.make_parser(LOCAL)}


def pages() -> dict[str, str]:
    """Return each page of the manual by its path below the directory of all pages."""
    found = parsers()
    texts = {AGENT: _program(found[AGENT]), LOCAL: _program(found[LOCAL]), SETTINGS: _settings()}
    return {
        f"man{_SECTIONS[name]}/{name}.{_SECTIONS[name]}": "\n".join([*_head(name), *lines, *_foot(name), ""])
        for name, lines in texts.items()
    }


def _head(name: str) -> Iterator[str]:
    # Without a date, so that the same sources always make the same page.
    yield f'.TH "{_escaped(name.upper())}" {_SECTIONS[name]} "" "{_escaped(f"{AGENT} {__version__}")}"'
    yield from [".nh", ".ad l"]  # paths and option names stay whole, and may be copied
    yield ".SH NAME"
    yield f"{_escaped(name)} \\- {_escaped(_SUMMARIES[name])}"


def _foot(name: str) -> Iterator[str]:
    yield ".SH SEE ALSO"
    others = [other for other in _SECTIONS if other != name]
    yield ",\n".join(f"{_bold(other)}({_SECTIONS[other]})" for other in others)


def _program(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield ".SH SYNOPSIS"
    yield from _usage(parser)
    yield ".SH DESCRIPTION"
    yield from _text(parser, parser.description)
    yield ".SH OPTIONS"
    yield from _arguments(parser)
    yield from _text(parser, parser.epilog)
    for action in _subcommands(parser):
        yield ".SH COMMANDS"
        yield from _commands(action)
    yield ".SH FILES"
    for path in DEFAULT_FILES:
        yield from _entry(f"\\fI{_escaped(path)}\\fR", "The settings.")


def _commands(action: argparse._SubParsersAction[argparse.ArgumentParser]) -> Iterator[str]:
    """Describe each command of a parser, and the commands that it may have itself."""
    for parser in action.choices.values():
        yield f'.SS "{_escaped(parser.prog)}"'
        yield from _text(parser, parser.description)
        yield from _usage(parser)
        if parser.prog == f"{AGENT} deploy-local":
            yield from [".PP", f"See {_bold(LOCAL)}({_SECTIONS[LOCAL]})."]
            continue
        yield from _arguments(parser)
        yield from _text(parser, parser.epilog)
        for inner in _subcommands(parser):
            yield from _commands(inner)


def _settings() -> Iterator[str]:
    yield ".SH DESCRIPTION"
    for paragraph in _SETTINGS_TEXT:
        yield from [".PP", _escaped(paragraph)]
    yield ".SH SETTINGS"
    for row in TABLE.values():
        yield from _entry(_bold(row.key), table.explanation(row))
    yield ".SH RETIRED SETTINGS"
    yield "These are read without a warning, and have no effect."
    for key, why in RETIRED.items():
        yield from _entry(_bold(key), why)


def _usage(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Write how a command is called; an option and its value stay on one line."""
    words = _USAGE_WORD.findall(parser.format_usage().partition(f"usage: {parser.prog}")[2])
    yield f'.SY "{_escaped(parser.prog)}"'
    yield from (_escaped(" ".join(word.split())).replace(" ", r"\ ") for word in words)
    yield ".YS"


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._SubParsersAction):
            values: Mapping[str, object] = {**vars(action), "prog": parser.prog}
            yield from _entry(_invocation(parser, action), (action.help or "") % values)


def _invocation(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Write an argument's names and value in the fonts of a manual."""
    formatter = parser._get_formatter()
    if not action.option_strings:
        return f"\\fI{_escaped(formatter._format_args(action, action.dest))}\\fR"
    names = ", ".join(map(_bold, action.option_strings))
    value = "" if action.nargs == 0 else formatter._format_args(action, action.dest.upper())
    return f"{names} \\fI{_escaped(value)}\\fR" if value else names


def _text(parser: argparse.ArgumentParser, text: str | None) -> Iterator[str]:
    """Write a description or an epilog: with its own lines, where the parser keeps them in its help."""
    if not text:
        return
    yield ".PP"
    if issubclass(parser.formatter_class, argparse.RawDescriptionHelpFormatter):  # type: ignore[arg-type]
        yield from [".nf", *(_escaped(line) for line in text.rstrip().splitlines()), ".fi"]
    else:
        yield _escaped(" ".join(text.split()))


def _entry(term: str, text: str) -> Iterator[str]:
    yield from [".TP 7n", term, _escaped(" ".join(text.split())) or r"\&"]


def _bold(text: str) -> str:
    return f"\\fB{_escaped(text)}\\fR"


def _escaped(text: str) -> str:
    """Write a text so that roff prints each of its characters, and takes no line of it for a request."""
    text = "".join(_ESCAPES.get(c, c) if c.isascii() else f"\\[u{ord(c):04X}]" for c in text)
    return f"\\&{text}" if text.startswith(".") else text


def _subcommands(parser: argparse.ArgumentParser) -> list[argparse._SubParsersAction[argparse.ArgumentParser]]:
    return [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
