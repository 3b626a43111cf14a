"""Tag filters: which hosts a deployment group means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.sandbox.engine.records import Json


def matches(filter_: Json, tags: Mapping[str, str]) -> bool:
    """Tell whether tags satisfy one filter by key, by value, or by both.

    Without a type it follows from what the filter gives, as the service does it.
    """
    key, value = filter_.get("Key") or "", filter_.get("Value")
    kind = filter_.get("Type")
    if kind is None:
        kind = "KEY_AND_VALUE" if value is not None else "KEY_ONLY"
    if kind == "KEY_ONLY":
        return key in tags
    if kind == "VALUE_ONLY":
        return value in tags.values()
    return key in tags and tags[key] == (value or "")


def matches_any(filters: Sequence[Json], tags: Mapping[str, str]) -> bool:
    """Tell whether tags satisfy one filter at least; an empty list matches nothing."""
    return any(matches(one, tags) for one in filters)


def selected(filters: Sequence[Json], tag_sets: Sequence[Sequence[Json]], tags: Mapping[str, str]) -> bool:
    """Tell whether a group means a host: one of its filters, or one filter of every tag set."""
    if matches_any(filters, tags):
        return True
    return bool(tag_sets) and all(matches_any(one, tags) for one in tag_sets)
