"""Entries of an AppSpec without their places, so that a test compares what they mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def plain(entries: Iterable[Any]) -> tuple[Any, ...]:
    """Return mappings, permissions, scripts or access control entries without places."""
    return tuple(entry._replace(place=None) if "place" in entry._fields else _plain(entry) for entry in entries)


def _plain(entry: Any) -> Any:
    entry = entry._replace(places={})
    return entry._replace(acls=plain(entry.acls)) if "acls" in entry._fields else entry
