"""The table of settings as text or Markdown, for the command line and the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.config.kinds import BOOL, URL
from agent.config.settings import RETIRED, TABLE, Row, Settings
from agent.text.redact import redacted_url


def shown(value: object) -> str:
    """A typed value as it would stand in the file; an empty text where there is none."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return f"for {', '.join(value['groups'])}"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def markdown() -> str:
    """All settings as a Markdown table, and the retired ones below it."""
    rows = [("key", "kind", "default", "since", "meaning"), ("---",) * 5]
    rows += [
        (f"`{row.key}`", row.kind.name, _code(shown(row.default)), row.since, row.meaning) for row in TABLE.values()
    ]
    retired = [("key", "why"), ("---",) * 2, *((f"`{key}`", why) for key, why in RETIRED.items())]
    return f"{_table(rows)}\nRead without a warning, and without effect:\n\n{_table(retired)}"


def _code(text: str) -> str:
    return f"`{text}`" if text else "none"


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def text(settings: Settings, origins: Mapping[str, str] | None = None) -> str:
    """All settings with the value that each has now; those that differ from their default are marked with ``*``.

    Passwords are hidden. With ``origins``, the file of each setting that stands in one, each names its file, or that it
    is the default.
    """
    lines = []
    for row in TABLE.values():
        value = getattr(settings, row.key)
        mark = " " if value == row.default else "*"
        origin = "" if origins is None else f"  # {origins.get(row.key, 'default')}"
        written = redacted_url(shown(value)) if row.kind is URL else shown(value)
        lines.append(f"{mark} {row.key}: {written}".rstrip() + f"{origin}\n      {explanation(row)}\n")
    return "".join(lines)


def explanation(row: Row) -> str:
    """Return what a setting means, with its kind, its default and the agent that brought it."""
    default = shown(row.default) or "none"
    kind = "true or false" if row.kind is BOOL else row.kind.name
    return f"{row.meaning} ({kind}; default {default}; {row.since})"
