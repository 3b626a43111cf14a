"""Checks of Python and the libraries against the ranges that this version of the agent is made for."""

from __future__ import annotations

import platform
import re
from importlib import metadata

from agent.doctor.finding import Finding, SkipError, failed, passed
from agent.doctor.subject import Subject

DISTRIBUTION = "codedeploy-host-agent"

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(;.*)?")
_BOUND = re.compile(r"(>=|<=|==|!=|<|>|~=)\s*([0-9][0-9A-Za-z.]*)")
_REMEDY = "Install the agent again: codedeploy-agent install brings what it needs."


def python(subject: Subject) -> Finding:
    """Compare Python with the range that the agent asks for."""
    bounds = str(_distribution().metadata["Requires-Python"] or "")
    found = platform.python_version()
    if fits(found, bounds):
        return passed(f"Python {found} is within {bounds}.")
    return failed(f"Python {found} is not within {bounds}.", f"Name a later Python with --python. {_REMEDY}")


def libraries(subject: Subject) -> Finding:
    """Compare each library with the range that the agent asks for."""
    wrong, right = [], []
    for name, bounds in requirements(_distribution().requires or []):
        found = _version(name)
        if not found:
            wrong.append(f"{name} is missing")
        elif not fits(found, bounds):
            wrong.append(f"{name} {found} is not within {bounds}")
        else:
            right.append(f"{name} {found}")
    if wrong:
        return failed(f"{'; '.join(wrong)}.", _REMEDY)
    return passed(f"{', '.join(right)}.")


def requirements(lines: list[str]) -> list[tuple[str, str]]:
    """Return name and bounds of each library that the agent always needs."""
    found = [_REQUIREMENT.fullmatch(line.strip()) for line in lines]
    return [(match[1], match[2].strip()) for match in found if match and not match[3]]


def fits(version: str, bounds: str) -> bool:
    """Return whether a version is within bounds such as ``>=2.2.2,<3``, compared by its numbers."""
    return all(_holds(_numbers(version), sign, _numbers(bound)) for sign, bound in _BOUND.findall(bounds))


def _holds(found: tuple[int, ...], sign: str, bound: tuple[int, ...]) -> bool:
    length = max(len(found), len(bound))
    left, right = (numbers + (0,) * (length - len(numbers)) for numbers in (found, bound))
    return {
        ">=": left >= right,
        "<=": left <= right,
        "==": left == right,
        "!=": left != right,
        "<": left < right,
        ">": left > right,
        "~=": left >= right and found[: len(bound) - 1] == bound[:-1],
    }[sign]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[a-z+]", version, maxsplit=1)[0]))


def _distribution() -> metadata.Distribution:
    try:
        return metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        raise SkipError("The agent runs from its sources: its requirements are not recorded.") from error


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
