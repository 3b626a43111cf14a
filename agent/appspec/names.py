"""Where the AppSpec file of a revision is looked for."""

from __future__ import annotations

from agent.errors import SpecificationError

DEFAULT_NAMES = ("appspec.yaml", "appspec.yml")


def candidates(requested: str) -> tuple[str, ...]:
    """Return the names to look for in a revision, in order and without repeats: the requested one, then the defaults.

    Raises SpecificationError for a name that could lead out of the revision, as the official agent 2.1.0 does:
    absolute ones, and those with a ``..`` part, a backslash or a NUL character; also for an empty one.
    """
    reason = _reason_against(requested)
    if reason:
        raise SpecificationError(
            f"The AppSpec file name {requested!r} {reason}.",
            remedy="Give a name below the revision's top directory, such as appspec.yml or deploy/appspec.yml.",
        )
    return tuple(dict.fromkeys((requested, *DEFAULT_NAMES)))


def _reason_against(name: str) -> str:
    if not name.strip():
        return "is empty"
    if "\0" in name:
        return "holds a NUL character"
    if "\\" in name:
        return "holds a backslash"
    if name.startswith("/"):
        return "is absolute"
    return "holds a '..' part" if ".." in name.split("/") else ""
