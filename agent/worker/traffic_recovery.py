"""Bringing traffic in order that nobody works on: ``python -m agent.worker.traffic_recovery``, with a hand-off.

The supervisor has it done when it starts and every minute while a record is not finalized: after a crash in the middle
of a move, and for a deployment that has gone quiet.
"""

from __future__ import annotations

import logging
import os
import sys

from agent.errors import AgentError
from agent.filesystem.locks import LockTimeoutError
from agent.runtime.host import Host, Observer
from agent.runtime.log_files import set_up_logs
from agent.runtime.own_directories import own_directories_are_safe
from agent.steps.traffic import control_of_record, records_of
from agent.store.locks import group_lock
from agent.traffic.record import TrafficRecord
from agent.worker.handoff import parse_handoff
from agent.worker.session import Session

_log = logging.getLogger("agent.worker.traffic_recovery")  # __name__ is "__main__" here


class _Log(Observer):
    def notice(self, text: str) -> None:
        _log.info("%s", text)


def main() -> int:
    """Bring every record in order that no command works on; errors are logged, and it is tried again a minute later."""
    session = Session(parse_handoff(sys.stdin.buffer.read()))
    if not own_directories_are_safe(session.settings):
        return 1
    os.umask(0o022)
    set_up_logs(session.settings)
    try:
        recover_all(session.host(_Log()))
    except (AgentError, OSError) as error:
        _log.error("The traffic of this host: %s", error)
        return 1
    return 0


def recover_all(host: Host) -> None:
    """Bring every record in order that nobody works on; what is wrong with one does not keep the others waiting.

    Raises OSError, RootDirectoryError.
    """
    found, errors = records_of(host.layout).all()
    for damage in errors:
        _log.error("%s", damage)
    for record in found:
        try:
            _recover(record, host)
        except LockTimeoutError:
            _log.debug("The traffic of %s is being worked on", record.group_name)
        except (AgentError, OSError) as error:
            _log.error("The traffic of %s: %s", record.group_name, error)


def _recover(record: TrafficRecord, host: Host) -> None:
    if not record.group_id:
        control_of_record(record, host).recover()
        return
    # A command of the group may run for longer than any record stays untouched.
    lock = group_lock(host.layout, record.group_id)
    lock.acquire(limit=0)
    with lock:
        control_of_record(record, host).recover()


if __name__ == "__main__":
    sys.exit(main())
