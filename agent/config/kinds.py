"""The kinds of values that a setting may have: from what stands in the file to a typed value."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple

Raw = object
"""What YAML made of a value: None, bool, int, float, str, or a list or mapping (never right here)."""

_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_SIZE = re.compile(r"([0-9]+) ?([kmgt]i?b|b)?", re.IGNORECASE)
_SIZE_UNITS: dict[str, int] = {"b": 1} | {
    f"{letter}{infix}b": base**power
    for infix, base in (("", 1000), ("i", 1024))
    for power, letter in enumerate("kmgt", start=1)
}
_LARGEST = 2**63 - 1
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class Kind(NamedTuple):
    """A kind of value.

    ``name`` stands in the table of settings, ``allowed`` completes "expected ..." in a message. ``convert``
    returns the typed value or raises ValueError, whose text may be empty.
    """

    name: str
    allowed: str
    convert: Callable[[Raw], object]


def _to_component(raw: Raw) -> str:
    if isinstance(raw, int) and not isinstance(raw, bool):
        raw = str(raw)
    if not isinstance(raw, str) or raw in ("", ".", "..") or any(character in raw for character in "/\0\n"):
        raise ValueError
    return raw


def _to_path(raw: Raw) -> str:
    if not isinstance(raw, str) or not raw or "\0" in raw:
        raise ValueError
    expanded = os.path.expanduser(raw) if raw.startswith("~") else raw
    # normpath would follow ".." as text and so leave the directory that a symbolic link leads to.
    joined = os.path.join(os.getcwd(), expanded)
    return "/" + "/".join(part for part in joined.split("/") if part not in ("", "."))


def _to_url(raw: Raw) -> str:
    if not isinstance(raw, str) or not re.fullmatch(r"https?://[^/\s]+(/\S*)?", raw):
        raise ValueError
    return raw


def _to_bool(raw: Raw) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in _TRUE | _FALSE:
        return raw.lower() in _TRUE
    raise ValueError


def _to_seconds(raw: Raw) -> float:
    if isinstance(raw, bool):
        raise ValueError
    if isinstance(raw, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)?", raw):
        raw = float(raw) if "." in raw else int(raw)
    if not isinstance(raw, (int, float)) or not 0 <= raw <= _LARGEST:
        raise ValueError
    return raw


def _to_count(raw: Raw) -> int:
    if isinstance(raw, str) and re.fullmatch(r"[0-9]+", raw):
        raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int) or not 1 <= raw <= _LARGEST:
        raise ValueError
    return raw


def _to_size(raw: Raw) -> int:
    match = _SIZE.fullmatch(str(raw)) if isinstance(raw, (int, str)) and not isinstance(raw, bool) else None
    if match is None:
        raise ValueError
    size = int(match[1]) * _SIZE_UNITS[(match[2] or "b").lower()]
    if not 1 <= size <= _LARGEST:
        raise ValueError
    return size


def _to_fingerprints(raw: Raw) -> tuple[str, ...]:
    # A number is refused too: YAML makes one of 64 decimal digits, and drops the zeros at their beginning.
    if not isinstance(raw, str):
        raise ValueError
    # With colons, as openssl prints them, they mean the same.
    parts = tuple(part.strip().replace(":", "").lower() for part in raw.split(",")) if raw.strip() else ()
    if not all(_FINGERPRINT.fullmatch(part) for part in parts):
        raise ValueError
    return parts


COMPONENT = Kind("name", 'the name of a file or directory, without "/"', _to_component)
PATH = Kind("path", "the path of a file or directory", _to_path)
URL = Kind("URL", "a URL that begins with https:// or http://", _to_url)
BOOL = Kind("boolean", "true or false", _to_bool)
SECONDS = Kind("seconds", "a number of seconds, 0 or more", _to_seconds)
COUNT = Kind("count", "a whole number, 1 or more", _to_count)
SIZE = Kind("size", "a number of bytes, 1 or more, or a size such as 500MB, 4GB or 1GiB", _to_size)

FINGERPRINTS = Kind(
    "fingerprints", "SHA-256 fingerprints: 64 hexadecimal digits each, in quotes, separated by commas", _to_fingerprints
)


def choice(*values: str) -> Kind:
    """A kind that allows exactly these texts."""

    def convert(raw: Raw) -> str:
        if raw not in values:
            raise ValueError
        return str(raw)

    return Kind(" or ".join(values), "one of " + ", ".join(values), convert)


def _refuse(_: Raw) -> object:
    raise ValueError


TRAFFIC = Kind("mapping", "a mapping with groups and providers, see docs/traffic.md", _refuse)
"""Marks the setting whose value ``agent.config.traffic`` reads, with its lines."""
