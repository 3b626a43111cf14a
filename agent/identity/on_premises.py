"""What the on-premises configuration file of a host outside EC2 says; nothing here reads it."""

from __future__ import annotations

from typing import NamedTuple

from agent.errors import Problem

LARGEST_FILE = 64 * 1024
"""Bytes; a real one has a few hundred, so more is some other file and is not read into memory."""


class OnPremises(NamedTuple):
    """What the on-premises file says; made of texts only, so that it survives JSON (``_asdict()``).

    Either ``access_key`` and ``secret_key`` are given (an IAM user) or ``credentials_file``, an absolute path
    (a session of a role, which something else renews). ``path`` is the file that said so.
    """

    arn: str
    region: str
    access_key: str | None
    secret_key: str | None
    credentials_file: str | None
    path: str

    @property
    def kind(self) -> str:
        """Tell ``iam-user`` from ``iam-session``."""
        return "iam-session" if self.credentials_file is not None else "iam-user"

    def __repr__(self) -> str:
        """Show what may be logged: everything but the secret key."""
        return (
            f"OnPremises(arn={self.arn!r}, region={self.region!r}, access_key={self.access_key!r}, "
            f"credentials_file={self.credentials_file!r}, path={self.path!r})"
        )


class OnPremisesFile(NamedTuple):
    """An identity, or None where the file gives none, and what deserves a warning."""

    on_premises: OnPremises | None
    warnings: tuple[Problem, ...] = ()
