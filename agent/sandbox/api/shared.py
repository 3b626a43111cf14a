"""What the operations have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from agent.sandbox.engine.engine import Engine
from agent.sandbox.engine.records import Json
from agent.sandbox.errors import RefusedError

Operation = Callable[[Engine, Json], Json]
"""Takes the validated input of an operation and gives its output, both in the shape of the API."""

Named = TypeVar("Named", str, dict[str, Any])
Found = TypeVar("Found")

_MOST_TAGS = 50

BATCH_LIMIT = 100
"""Names in one batch call; the service allows 25 to 100, depending on the operation."""


def within_limit(
    names: list[Named], limit: int = BATCH_LIMIT, *, fault: str = "BatchLimitExceededException"
) -> list[Named]:
    """Give the names back, or refuse more of them than a batch may have."""
    if len(names) > limit:
        raise RefusedError(fault, f"At most {limit} at once, not {len(names)}")
    return names


def found_of(names: Sequence[Named], find: Callable[[Named], Found]) -> tuple[list[Found], str | None]:
    """Return what there is of several names, and a sentence about the others, as a batch call answers."""
    found, unknown = [], []
    for name in names:
        try:
            found.append(find(name))
        except RefusedError as error:
            unknown.append(error.message)
    return found, "; ".join(unknown) or None


def resource_tags(added: Sequence[Json], present: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a resource with some added. Raises RefusedError, InvalidTagsToAddException."""
    tags = dict(present)
    for tag in added:
        key, value = tag.get("Key") or "", tag.get("Value") or ""
        if not 0 < len(key) <= 128 or len(value) > 256 or key.lower().startswith("aws:"):
            raise RefusedError(
                "InvalidTagsToAddException",
                f"The tag {key!r} is not accepted: keys have 1 to 128 characters and do not begin with aws:, "
                "values have at most 256",
            )
        tags[key] = value
    if len(tags) > _MOST_TAGS:
        raise RefusedError("InvalidTagsToAddException", f"A resource has at most {_MOST_TAGS} tags")
    return tags


def required(request: Json, name: str, fault: str) -> str:
    """Return a text that the operation needs although the model does not say so."""
    found = str(request.get(name) or "")
    if not found:
        raise RefusedError(fault, f"{name} is missing")
    return found


def one_page(request: Json) -> None:
    """Refuse a page token: every list is given whole."""
    if request.get("nextToken"):
        raise RefusedError("InvalidNextTokenException", "The sandbox gives every list in one page")
