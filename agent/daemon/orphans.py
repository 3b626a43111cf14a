"""What an earlier agent, ours or an official one, has left unfinished on this host."""

from __future__ import annotations

import time

import structlog

from agent.deployment.outcome import Outcome
from agent.errors import AgentError, DiagnosticCode
from agent.filesystem.durable import remove_if_there
from agent.store.command_ids import short_id
from agent.store.commands import CommandStore, SavedOutcome, new_record
from agent.store.layout import Layout
from agent.store.tracking import Tracked, tracked

_log = structlog.stdlib.get_logger(__name__)


def take_over_tracked(store: CommandStore, layout: Layout, *, host_identifier: str) -> None:
    """Put every command in hand, as failed, that an official agent was working on when it ended.

    What ours was working on has a record of its own. A problem with one file is logged and does not stop the others.
    """
    try:
        unfinished = tracked(layout)
    except (OSError, AgentError) as error:
        _log.warning("What another agent may have left unfinished cannot be read: %s", error)
        return
    for found in unfinished:
        try:
            _take_over(found, store, host_identifier)
        except (OSError, AgentError) as error:
            _log.warning("The command in %s cannot be taken over: %s", found.path, error)


def _take_over(found: Tracked, store: CommandStore, host_identifier: str) -> None:
    directory = store.directory_of(found.command_identifier)
    if directory.exists():
        return
    if store.finished(found.command_identifier) is not None:
        remove_if_there(found.path)
        return
    _log.warning(
        "Another agent was working on command %s when it ended; the command is reported as failed",
        found.command_identifier,
        command=short_id(found.command_identifier),
        deployment=found.deployment_id,
    )
    outcome = Outcome(
        DiagnosticCode.FAILED_AFTER_RESTART,
        message=(
            "The agent that worked on this lifecycle event ended before it was done, and another agent has taken over"
            " this host. Nothing of the event was run a second time."
        ),
    )
    record = new_record(
        {
            "command_identifier": found.command_identifier,
            "host_identifier": host_identifier,
            "execution_id": "",
            "command_name": "",
        },
        now=time.time(),
    )
    saved = SavedOutcome(outcome.status, outcome.payload(), time.time(), deployment_id=found.deployment_id)
    store.add(record, saved)
