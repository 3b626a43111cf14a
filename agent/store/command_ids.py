"""The ids that every line of the log about a command carries, as far as the disk knows them."""

from __future__ import annotations

import re
from contextlib import suppress

from agent.errors import AgentError
from agent.store.bindings import Bindings
from agent.store.commands import SHORT, CommandDirectory, CommandRecord, key_of
from agent.store.layout import Layout

# Execution ids of the service are paths; a deployment's id in one is only good for a log.
_DEPLOYMENT = re.compile(r"(?:^|/)(d-[A-Z0-9]{1,20})(?:/|$)")


def short_id(command_identifier: str) -> str:
    """Return the short form of a command's identifier."""
    return key_of(command_identifier)[-SHORT:]


def ids_of(directory: CommandDirectory, layout: Layout) -> dict[str, str]:
    """Return the ids of a command in hand; those that cannot be read are left out."""
    ids = {"command": directory.short}
    with suppress(AgentError, OSError):
        ids = ids_of_record(directory.record(), layout)
    with suppress(AgentError, OSError):
        progress = directory.progress()
        if progress is not None and progress.deployment_id:
            return {**ids, "deployment": progress.deployment_id, "group": progress.group_id}
    with suppress(AgentError, OSError):
        outcome = directory.outcome()
        if outcome is not None and outcome.deployment_id:
            return {**ids, "deployment": outcome.deployment_id, "group": outcome.group_id}
    return ids


def ids_of_record(record: CommandRecord, layout: Layout) -> dict[str, str]:
    """Return the ids of a command whose specification is not known yet.

    The deployment is that which the service's execution id names, if it names one, and the group is known from the
    deployment's earlier commands.
    """
    ids = {"lifecycle_event": record.command_name, "command": short_id(record.command_identifier)}
    found = _DEPLOYMENT.search(record.execution_id)
    if found:
        ids["deployment"] = found[1]
        with suppress(AgentError, OSError):
            ids["group"] = Bindings(layout).group_of(found[1])
    return {name: value for name, value in ids.items() if value}
