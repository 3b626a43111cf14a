"""What the last Install of a group has put on this host."""

from __future__ import annotations

import json

from agent.errors import AgentError
from agent.filesystem.regular import read_regular
from agent.store.layout import Layout

_LARGEST = 64 << 20


class InstructionsError(AgentError):
    """The instructions of an Install cannot be understood."""


def installed_files(layout: Layout, group_id: str) -> list[str]:
    """Return the files that a group's last Install has copied, by its ``-install.json`` as every agent writes it.

    Empty without an Install. Raises InstructionsError, OSError.
    """
    path = f"{layout.instructions}/{group_id}-install.json"
    try:
        rows = json.loads(read_regular(path, _LARGEST).decode("utf-8", "surrogateescape"))["instructions"]
        return [str(row["destination"]) for row in rows if row["type"] == "copy"]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InstructionsError(f"{path} cannot be understood: {error}.") from error
