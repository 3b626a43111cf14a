"""``codedeploy-agent settings``: every setting, what it means and its value."""

from __future__ import annotations

import argparse

from agent.cli.output import Writer
from agent.config import table
from agent.config.file import load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--config-file", metavar="PATH", help="the agent's configuration file")
    parser.add_argument("--config_file", dest="config_file", help=argparse.SUPPRESS)
    parser.add_argument("--origin", action="store_true", help="show the file that each setting comes from")
    parser.add_argument("--markdown", action="store_true", help="print the table of all settings as Markdown")


def run(options: argparse.Namespace) -> int:
    """Print the settings; 0. Raises ConfigError for a file with problems."""
    out = Writer(1)
    if options.markdown:
        out.data(table.markdown().encode())
        return 0
    loaded = load(options.config_file)
    for warning in loaded.warnings:
        Writer(2).line(f"note: {warning}")
    out.line(f"# {', '.join(loaded.files) or 'No configuration file: these are the defaults'}")
    out.line(table.text(loaded.settings, loaded.origins if options.origin else None).rstrip())
    return 0
