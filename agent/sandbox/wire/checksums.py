"""Marks the checksums of multipart uploads as S3 does."""

from __future__ import annotations

import re

_MULTIPART_ETAG = re.compile(r'"?[0-9a-f]{32}-(\d+)"?')
_VALUE = re.compile(r"x-amz-checksum-(crc32|crc32c|sha1|sha256)")
_TYPE = "x-amz-checksum-type"
_UPLOADED_IN_PARTS = "x-amz-checksum-algorithm"  # of the upload's beginning; moto copies it with the object


def mark_composite(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of an S3 object with its checksum told apart from one of the whole object.

    moto keeps a checksum of the parts' checksums for a multipart upload, and answers a HEAD with it as if it were the
    object's. S3 writes the number of parts behind such a value and names its type. A copy of such an object has no
    parts, but moto lets it inherit the value, which is left out here.
    """
    found = {name.lower(): value for name, value in headers}
    multipart = _MULTIPART_ETAG.fullmatch(found.get("etag", ""))
    if found.get(_TYPE, "COMPOSITE") != "COMPOSITE" or not any(map(_VALUE.fullmatch, found)):
        return headers
    if multipart is None and _UPLOADED_IN_PARTS in found:
        return [
            (name, value) for name, value in headers if not _VALUE.fullmatch(name.lower()) and name.lower() != _TYPE
        ]
    if multipart is None:
        return headers
    marked = [
        (name, f"{value}-{multipart[1]}" if _VALUE.fullmatch(name.lower()) and "-" not in value else value)
        for name, value in headers
        if name.lower() != _TYPE
    ]
    return [*marked, (_TYPE, "COMPOSITE")]
