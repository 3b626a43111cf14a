"""How help texts are laid out: as ``argparse`` does it, but without its start-up time."""

from __future__ import annotations

import argparse
import os


class HelpFormatter(argparse.HelpFormatter):
    """Asks for the terminal's width by itself: the standard one loads every archive format there is to do so."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


class RawHelpFormatter(HelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Leaves the lines of descriptions as they are."""


def _columns() -> int:
    try:
        return int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size().columns or 80
    except (ValueError, OSError):
        return 80
