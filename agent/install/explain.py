"""Turn an operating system's error into one that an operator can act on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from agent.errors import InstallError
from agent.filesystem.reasons import place_and_reason, remedy_for

_SOMEBODY_ELSE = "Something else writes to the destination: stop it before Install, for example in ApplicationStop."


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Raise InstallError for an OSError, with the path, the reason and what to do; ``doing`` completes "while"."""
    try:
        yield
    except OSError as error:
        remedy = _SOMEBODY_ELSE if error.errno == errno.EEXIST else remedy_for(error)
        raise InstallError(f"While {doing}: {place_and_reason(error)}.", remedy=remedy) from error
