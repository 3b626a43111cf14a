"""What an answer that brings bytes of an object says of itself."""

from __future__ import annotations

import re
from typing import NamedTuple

from agent.bundle.fetch import DamagedError, ObjectReplacedError
from agent.network.http import Response

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})")


class Reply(NamedTuple):
    """An answer that brings bytes: where they begin, and how large the whole object is, if that is known."""

    response: Response
    start: int
    size: int | None
    etag: str
    is_range: bool


def strong(etag: str) -> str:
    """An ETag that stands for the very bytes; empty for a weak one, which If-Match never matches (RFC 9110)."""
    return "" if etag.startswith("W/") else etag


def read_head(response: Response, start: int, name: str) -> Reply:
    """Check what an answer says of itself. Raises ObjectReplacedError, DamagedError."""
    etag = response.headers.get("ETag", "")
    if response.status == 200:
        length = response.headers.get("Content-Length", "")
        return Reply(response, 0, int(length) if length.isdecimal() and len(length) < 19 else None, etag, False)
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status == 416:
        raise replaced(name)  # it has become shorter
    if found is None or found[1] is None or int(found[1]) != start or not start <= int(found[2]) < int(found[3]):
        raise DamagedError(
            f"{name}: the answer brings another range than the one asked for"
            f" ({response.headers.get('Content-Range', 'none')[:60]!r}, from byte {start} on).",
            remedy="A proxy or cache on the way may be at fault.",
        )
    return Reply(response, start, int(found[3]), etag, True)


def replaced(name: str) -> ObjectReplacedError:
    """The error for an object that is another one than a moment ago."""
    return ObjectReplacedError(
        f"{name} was replaced while it was being downloaded.",
        remedy="Deploy again; give the revision's version or ETag to be sure of which one is meant.",
    )
