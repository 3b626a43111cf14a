"""The on-premises configuration file: where a host outside EC2 says who it is.

Nothing here needs a YAML parser until a file is read, so that a process which is handed the result never loads one.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from agent.errors import Problem
from agent.filesystem.reasons import remedy_for
from agent.identity.errors import IdentityError

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


def load_on_premises(path: str) -> OnPremises | None:
    """Read the on-premises file; None where there is no such file, or one without an ARN.

    Raises as ``read_on_premises`` does, which gives the warnings too.
    """
    return read_on_premises(path).on_premises


def read_on_premises(path: str) -> OnPremisesFile:
    """Read the on-premises file and say what deserves a warning in it.

    The rules are those of the official agents: one of two ARNs, keys with or without a leading colon, a file
    without an ARN is set aside. Raises OnPremisesError with every problem in the file, IdentityError where it is
    there but cannot be read.
    """
    try:
        data, mode = _read(path)
    except (FileNotFoundError, NotADirectoryError):
        return OnPremisesFile(None, _about_a_dangling_link(path))
    except OSError as error:
        raise IdentityError(
            f"The on-premises configuration file {path} cannot be read: {error.strerror}.",
            remedy=remedy_for(
                error, otherwise="Let the agent's user read it; remove it if this host's identity comes from EC2."
            ),
            lasting=True,
        ) from error
    from agent.identity.on_premises_text import parse  # brings the YAML parser

    found = parse(data, path=path)
    return OnPremisesFile(found.on_premises, (*_about_readers(path, mode, found.on_premises), *found.warnings))


def _read(path: str) -> tuple[bytes, int]:
    # Non-blocking, so that a fifo of this name cannot hold the agent up.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise IdentityError(
                f"The on-premises configuration file {path} is not a regular file.",
                remedy="Put a plain file there, or set on_premises_config_file to another path.",
                lasting=True,
            )
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(LARGEST_FILE + 1)
    finally:
        os.close(descriptor)
    if len(data) > LARGEST_FILE:
        raise IdentityError(
            f"The on-premises configuration file {path} has more than {LARGEST_FILE} bytes.",
            remedy="It holds four or five lines; is this the right file?",
            lasting=True,
        )
    return data, mode


def _about_a_dangling_link(path: str) -> tuple[Problem, ...]:
    if not os.path.islink(path):
        return ()
    message = "this on-premises configuration file is a symbolic link that leads nowhere, and so counts as absent."
    return (Problem(path, 0, 0, message, "Fix the link or remove it.", "warning"),)


def _about_readers(path: str, mode: int, on_premises: OnPremises | None) -> tuple[Problem, ...]:
    others = stat.S_IMODE(mode) & (stat.S_IRWXG | stat.S_IRWXO)
    if on_premises is None or not others & (stat.S_IRGRP | stat.S_IROTH | stat.S_IWGRP | stat.S_IWOTH):
        return ()
    able = "change" if others & (stat.S_IWGRP | stat.S_IWOTH) else "read"
    message = f"others than its owner may {able} this on-premises configuration file (mode {stat.S_IMODE(mode):04o})."
    return (Problem(path, 0, 0, message, f"Use: chmod 600 {path}", "warning"),)
