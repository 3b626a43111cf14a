"""What the operations have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from agent.sandbox.engine.engine import Engine
from agent.sandbox.engine.records import Json
from agent.sandbox.errors import RefusedError

Operation = Callable[[Engine, Json], Json]
"""Takes the validated input of an operation and gives its output, both in the shape of the API."""

Named = TypeVar("Named", str, dict[str, Any])

BATCH_LIMIT = 100
"""Names in one batch call; the service allows 25 to 100, depending on the operation."""


def within_limit(names: list[Named], limit: int = BATCH_LIMIT) -> list[Named]:
    """Give the names back, or refuse more of them than a batch may have."""
    if len(names) > limit:
        raise RefusedError("BatchLimitExceededException", f"At most {limit} at once, not {len(names)}")
    return names


def one_page(request: Json) -> None:
    """Refuse a page token: every list is given whole."""
    if request.get("nextToken"):
        raise RefusedError("InvalidNextTokenException", "The sandbox gives every list in one page")
