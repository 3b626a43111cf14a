"""Points in time as AWS writes them."""

from __future__ import annotations

from datetime import UTC, datetime


def epoch(text: str) -> float:
    """Turn an ISO 8601 time, such as 2026-11-23T05:13:10Z, into seconds since the epoch; without a zone it is UTC.

    Raises ValueError.
    """
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except OverflowError as error:
        raise ValueError(str(error)) from error


def shown_time(seconds: float) -> str:
    """Write seconds since the epoch for a person: UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
