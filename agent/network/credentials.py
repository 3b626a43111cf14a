"""Credentials for signing requests, in a form that never shows its secrets."""

from __future__ import annotations

from typing import NamedTuple


class Credentials(NamedTuple):
    """An access key with its secret; ``expires_at`` is in seconds since the epoch, None for one that stays valid."""

    access_key: str
    secret_key: str
    token: str | None = None
    expires_at: float | None = None

    def __repr__(self) -> str:
        """Show what may be logged: everything but the secrets."""
        return f"Credentials(access_key={self.access_key!r}, expires_at={self.expires_at!r})"
