"""A pause that a person asks for: deployments that have begun go on, and new ones wait.

``agent-state/paused.json`` says so, durably. The protocol has no way to refuse a command, but the service hands one out
again that nobody acknowledges. So the agent does not poll while no deployment goes on here, and leaves a command of a
new one that comes in between unacknowledged.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.errors import AgentError
from agent.filesystem.durable import remove_if_there, sync_directory, write_durably
from agent.filesystem.regular import read_regular
from agent.store.bindings import Bindings
from agent.store.commands import CommandStore
from agent.store.directories import make_state_directory
from agent.store.layout import Layout
from agent.text.times import stamp

if TYPE_CHECKING:  # a status that shows a pause does without the client
    from agent.service.client import HostCommand

NEXT_EVENT_WITHIN = 3600.0
"""Seconds after an event in which the next one of its deployment is polled for; the service waits no longer."""

_LARGEST = 64 * 1024

_log = logging.getLogger(__name__)


class Paused(NamedTuple):
    """Why and by whom; times in seconds since the epoch, ``until`` 0 for a pause that a person ends."""

    reason: str
    since: float
    until: float = 0.0
    by: str = ""

    def __str__(self) -> str:
        """Return it as the middle of a sentence: ``until 2026-11-23 08:15:02 by alice: database is moved``."""
        end = f"until {stamp(self.until)}" if self.until else ""
        by = f"by {self.by}" if self.by else ""
        return f"{' '.join(filter(None, (end, by)))}: {self.reason}"


def pause_file(layout: Layout) -> str:
    """Return the path of the file that says that the agent is paused."""
    return os.path.join(layout.state, "paused.json")


def write_pause(layout: Layout, paused: Paused) -> None:
    """Have new deployments wait from now on. Raises OSError, RootDirectoryError."""
    make_state_directory(layout, layout.state)
    write_durably(pause_file(layout), json.dumps(paused._asdict()).encode(), mode=0o600)


def end_pause(layout: Layout) -> bool:
    """End a pause durably, and return whether there was one. Raises OSError."""
    if not remove_if_there(pause_file(layout)):
        return False
    sync_directory(layout.state)
    return True


def read_pause(layout: Layout, *, now: float) -> Paused | None:
    """Return the pause that counts at this moment, None where there is none. Raises OSError.

    A file that cannot be understood is a pause too: a person has asked for one.
    """
    path = pause_file(layout)
    try:
        found = json.loads(read_regular(path, _LARGEST))
        paused = Paused(str(found["reason"]), float(found["since"]), float(found["until"]), str(found["by"]))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        text = f"{path} cannot be understood ({error}); codedeploy-agent resume removes it"
        return Paused(text, os.stat(path).st_mtime)
    return None if paused.until and now >= paused.until else paused


class Pause:
    """Follows the file for the supervisor; ``note`` is given the pause for the status whenever it changes."""

    def __init__(self, layout: Layout, note: Callable[[dict[str, Any] | None], None]) -> None:
        self._layout = layout
        self._note = note
        self._paused: Paused | None = None

    def turn(self) -> Paused | None:
        """Look at the file, and log what has changed; return the pause that counts now."""
        try:
            found = read_pause(self._layout, now=time.time())
        except OSError as error:
            _log.debug("%s cannot be read: %s", pause_file(self._layout), error)
            return self._paused
        if found != self._paused:
            self._tell(found)
        self._paused = found
        return found

    def may_poll(self) -> bool:
        """Return whether the service is to be asked for commands: those of a deployment that goes on may come."""
        return self.turn() is None or self._is_in_hand()

    def leaves(self, command: HostCommand) -> bool:
        """Return whether a command is of a deployment that has to wait. Raises OSError."""
        return self.turn() is not None and not Bindings(self._layout).knows(command.execution_id)

    def _tell(self, found: Paused | None) -> None:
        self._note(found._asdict() if found else None)
        if found is not None:
            _log.warning("New deployments wait: the agent is paused %s", found)
        else:
            _log.warning("The pause is over; new deployments are taken on again")

    def _is_in_hand(self) -> bool:
        """Return whether a deployment goes on here; where the disk does not say, as if it did."""
        try:
            if next(iter(CommandStore(self._layout)), None) is not None:
                return True
            if not Bindings(self._layout).newest_going_on():
                return False
            # A name in this directory changes with each command that ends.
            return time.time() - os.stat(os.path.join(self._layout.state, "finished")).st_mtime < NEXT_EVENT_WITHIN
        except FileNotFoundError:
            return False
        except (AgentError, OSError):
            return True
