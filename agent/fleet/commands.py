"""Programs of the system: found also in the administrator's directories, run with a limit, explained when they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agent.filesystem.reasons import remedy_for
from agent.fleet.errors import FleetError

_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin")
_TAIL = 20
"""Lines of a program's output that an error shows."""


class Ended(NamedTuple):
    """How a program ended, and what it printed (both streams, in order)."""

    status: int
    output: str


def find(program: str) -> str | None:
    """The path of a program, None where there is none; the caller's PATH counts first.

    Relative parts of the PATH do not count: root must not run what lies in the directory where it happens to be.
    """
    own = [directory for directory in os.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(directory)]
    return shutil.which(program, path=os.pathsep.join([*own, *_DIRECTORIES]))


def attempt(
    command: Sequence[str], *, limit: float = 300, environment: Mapping[str, str] | None = None, directory: str = "/"
) -> Ended:
    """Run a program and say how it ended.

    ``limit`` is in seconds. The umask is 022 whatever the caller's is, there is no input, and messages are in English.
    Raises FleetError where it cannot be started or does not end in time.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**(os.environ if environment is None else environment), "LC_ALL": "C.UTF-8"},
            cwd=directory,
            timeout=limit,
            umask=0o022,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FleetError(f"{' '.join(command[:3])} ... did not end within {limit:g} s.") from error
    except OSError as error:
        raise FleetError(f"{command[0]} cannot be run: {error.strerror}.", remedy=remedy_for(error)) from error
    return Ended(done.returncode, done.stdout.decode("utf-8", "replace"))


def run(
    command: Sequence[str],
    *,
    purpose: str,
    remedy: str = "",
    limit: float = 300,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program that must succeed; give its output.

    ``purpose`` completes "failed to ...". Raises FleetError with the last lines of the output.
    """
    ended = attempt(command, limit=limit, environment=environment)
    if ended.status != 0:
        tail = "\n".join(ended.output.rstrip().splitlines()[-_TAIL:])
        raise FleetError(
            f"Failed to {purpose}: {' '.join(command[:4])} ended with {ended.status}.\n{tail}", remedy=remedy
        )
    return ended.output
