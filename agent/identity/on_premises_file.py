"""Reading the on-premises configuration file, where a host outside EC2 says who it is.

Nothing here needs a YAML parser until there is a file: a host on EC2 never loads one for it.
"""

from __future__ import annotations

import os
import stat

from agent.errors import Problem
from agent.filesystem.reasons import remedy_for
from agent.identity.errors import IdentityError
from agent.identity.on_premises import LARGEST_FILE, OnPremises, OnPremisesFile


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
            passing=False,
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
                passing=False,
            )
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(LARGEST_FILE + 1)
    finally:
        os.close(descriptor)
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
