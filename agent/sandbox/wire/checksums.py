"""Marks the checksums of multipart uploads as S3 does."""

from __future__ import annotations

import re

_MULTIPART_ETAG = re.compile(r'"?[0-9a-f]{32}-(\d+)"?')
_VALUE = re.compile(r"x-amz-checksum-(crc32|crc32c|sha1|sha256)")
_TYPE = "x-amz-checksum-type"


def mark_composite(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of an S3 object with its checksum told apart from one of the whole object.

    moto keeps a checksum of the parts' checksums for a multipart upload, and answers a HEAD with it as if it were the
    object's. S3 writes the number of parts behind such a value and names its type.
    """
    found = {name.lower(): value for name, value in headers}
    multipart = _MULTIPART_ETAG.fullmatch(found.get("etag", ""))
    if multipart is None or found.get(_TYPE, "COMPOSITE") != "COMPOSITE" or not any(map(_VALUE.fullmatch, found)):
        return headers
    marked = [
        (name, f"{value}-{multipart[1]}" if _VALUE.fullmatch(name.lower()) and "-" not in value else value)
        for name, value in headers
        if name.lower() != _TYPE
    ]
    return [*marked, (_TYPE, "COMPOSITE")]
