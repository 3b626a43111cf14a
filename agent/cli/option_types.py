"""Values of options, checked while the command line is read: a wrong one ends with the command's usage and 64."""

from __future__ import annotations

import argparse
import re

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


def duration(text: str) -> float:
    """Return a length of time in seconds. Raises ArgumentTypeError for anything but a number with its unit."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|d)", text)
    if match is None or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a length of time such as 90s, 30m, 2h or 1d")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
