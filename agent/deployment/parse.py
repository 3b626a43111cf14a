"""Checks on what a deployment specification says, the same for the service's and the local command's."""

from __future__ import annotations

import re

from agent.errors import SpecificationError

LONGEST_ID = 200
"""Bytes of an id: it becomes a file name, and the longest ending that is put to it has 24."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Half characters, except those that stand for single bytes of a name that is not UTF-8.
_UNENCODABLE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def safe_component(text: str, what: str) -> str:
    """Give the text back if it can stand as one file name below the root directory.

    Raises SpecificationError, naming ``what`` it is, for an empty text, ``.``, ``..``, a slash, a control
    character, half a character, or more than ``LONGEST_ID`` bytes.
    """
    reason = ""
    if text in ("", ".", ".."):
        reason = "is empty" if not text else f'is "{text}"'
    elif "/" in text:
        reason = f'"{text}" has a slash in it'
    elif _CONTROL.search(text):
        reason = f"{text!r} has a control character in it"
    elif _UNENCODABLE.search(text):
        reason = f"{text!r} is not a valid text"
    elif len(text.encode("utf-8", "surrogateescape")) > LONGEST_ID:
        reason = f'"{text[:20]}..." is longer than {LONGEST_ID} bytes'
    if reason:
        raise SpecificationError(
            f"The {what} {reason}, but a directory and files are named after it.",
            remedy="Choose a plain name, such as web-servers.",
        )
    return text
