"""Values of options, checked while the command line is read: a wrong one ends with the command's usage and 64."""

from __future__ import annotations

import argparse

from agent.identity.names import region_fault


def region(text: str) -> str:
    """Return a region's name. Raises ArgumentTypeError for a text that cannot be one."""
    if fault := region_fault(text):
        raise argparse.ArgumentTypeError(f"{text!r} {fault}")
    return text


def filled(text: str) -> str:
    """Return a text. Raises ArgumentTypeError for an empty one, as an unset variable of a script leaves."""
    if not text:
        raise argparse.ArgumentTypeError("the value is empty")
    return text
