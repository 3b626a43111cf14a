"""Names of entries: bytes as an archive gives them, made relative and free of tricks, or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.errors import BundleError

MAKE_IT_AGAIN = "The archive is damaged or was made wrongly: make it again and deploy the new one."

LONGEST_NAME = 4095
"""Bytes of a path, and of a link's target, that Linux takes; a longer one only costs time."""

_SHOWN = 200
_LINKS_FOLLOWED = 40  # as many as Linux itself follows


def shown_name(name: bytes) -> str:
    """A name for a message: quoted, on one line whatever bytes are in it, and not endless."""
    text = name.decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    if len(text) > _SHOWN:
        text = text[: _SHOWN // 2] + "..." + text[-_SHOWN // 2 :]
    return f"'{text}'"


def entry_error(archive: str, name: bytes, what: str, *, remedy: str = MAKE_IT_AGAIN) -> BundleError:
    """The error for one entry of an archive or directory."""
    return BundleError(f"{archive}: entry {shown_name(name)} {what}.", remedy=remedy)


def clean(raw: bytes) -> tuple[bytes, bool]:
    """A name without leading, trailing and doubled slashes and without ``.`` and ``..``; b"" is the top itself.

    Also tells whether the raw name led out of the top directory, by being absolute or by a ``..``:
    what becomes of such an entry is for the caller to decide.
    """
    # Nearly every name is clean already, and this is asked for each of 100,000 entries.
    if b"/." not in raw and b"//" not in raw and raw[:1] not in (b"/", b".") and raw[-1:] != b"/":
        return raw, False
    if raw[:2] == b"./" and b"/." not in raw[2:] and b"//" not in raw and raw[2:3] != b"." and raw[-1:] != b"/":
        return raw[2:], False
    parts = raw.split(b"/")
    led_out = raw[:1] == b"/" or b".." in parts
    return b"/".join([part for part in parts if part not in (b"", b".", b"..")]), led_out


def resolve(
    links: Mapping[bytes, bytes], name: bytes, stepped: Callable[[int], None] = lambda steps: None
) -> bytes | None:
    """Where a clean name leads when the symbolic links on its way are followed, the last one included.

    ``links`` holds the targets of all symbolic links below the top directory. None means: out of the top directory, or
    round in a circle, or longer than a path can be. ``stepped`` is called with a number of parts that are walked next.
    """
    ahead = name.split(b"/")[::-1]
    stepped(len(ahead))
    done: list[bytes] = []
    followed = length = 0
    while ahead:
        part = ahead.pop()
        if part in (b"", b"."):
            continue
        if part == b"..":
            if not done:
                return None
            length -= len(done.pop()) + 1
            continue
        done.append(part)
        length += len(part) + 1
        if length > LONGEST_NAME + 1:
            return None
        target = links.get(b"/".join(done)) if links else None
        if target is not None:
            followed += 1
            if target[:1] == b"/" or followed > _LINKS_FOLLOWED:
                return None
            length -= len(done.pop()) + 1
            parts = target.split(b"/")
            stepped(len(parts))
            ahead.extend(parts[::-1])
    return b"/".join(done)
