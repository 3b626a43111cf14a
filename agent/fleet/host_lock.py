"""The lock that lets one installation or removal run at a time on a host."""

from __future__ import annotations

from agent.filesystem.durable import make_directory
from agent.filesystem.locks import FileLock
from agent.fleet import places
from agent.fleet.placement import Tell
from agent.fleet.places import Places

LIMIT = 600.0
"""Seconds to wait for another installation."""


def host_lock(host: Places, tell: Tell) -> FileLock:
    """Take the lock, making its directory if need be. Raises LockTimeoutError, OSError."""
    while True:
        make_directory(host.at(places.HOME))
        lock = FileLock(host.at(places.LOCK), purpose="another installation")
        lock.acquire(limit=LIMIT, on_wait=tell)
        if lock.is_current():
            return lock
        lock.release()  # an uninstall that we waited for has removed the file
