"""Remove the agent from a host: exactly what was installed, and deployments only when told so."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import time
from typing import NamedTuple

from agent.filesystem.locks import FileLock
from agent.fleet import manifest, official, places, versions
from agent.fleet.errors import FleetError
from agent.fleet.manifest import Manifest
from agent.fleet.placement import Tell
from agent.fleet.places import Places
from agent.fleet.service_manager import ServiceManager

_WORKER = "agent.worker.process"
"""The module that a worker's command line names."""
_GRACE = 2.0  # seconds
_PURGED = (places.DEPLOYMENT_ROOT, places.STATE, places.TAKEOVER, places.SETTINGS_FOLDER, places.LOGS)
_PID_FILE = f"{places.STATE}/.pid/codedeploy-agent.pid"
_RECORDS = f"{places.DEPLOYMENT_ROOT}/agent-state"
_MADE_BY_THE_AGENT = (places.VERSION_FILE, _PID_FILE, f"{_PID_FILE}.lock", f"{_RECORDS}/status.json")
_EMPTY_FOLDERS = (
    _RECORDS,
    places.DEPLOYMENT_ROOT,
    places.DROP_INS,
    places.BIN,
    places.VERSIONS,
    f"{places.STATE}/.pid",
    places.STATE,
    places.CONFIG_FOLDER,
    places.SETTINGS_FOLDER,
    os.path.dirname(places.LOGS),
    places.HOME,
)


class UninstallOptions(NamedTuple):
    """What to remove; ``purge`` takes deployments, configuration, registration and logs too."""

    root: str = "/"
    purge: bool = False
    force: bool = False


def uninstall(options: UninstallOptions, *, tell: Tell) -> bool:
    """Remove the agent; tell whether there was one. An interrupted run is finished by the next.

    What hooks have installed and started stays. Raises FleetError while a deployment is in progress, unless forced.
    """
    host = Places(options.root)
    if host.is_host and os.geteuid() != 0:
        raise FleetError("Only root can remove the agent from this host.", remedy="Use sudo.")
    there = os.path.isdir(host.at(places.HOME))
    installed = False
    if there:
        lock = FileLock(host.at(places.LOCK), purpose="another installation")
        lock.acquire(limit=600, on_wait=tell)
        with lock:
            installed = _remove(host, options, tell)
    if installed:
        _remove_empty_folders(host)
    return installed


def _remove(host: Places, options: UninstallOptions, tell: Tell) -> bool:
    known = manifest.load(host)
    if known is None:
        # What is there belongs to an official agent, or to somebody else: not even --purge touches it.
        return False
    busy = [] if options.force else _lasting_workers(host)
    if busy:
        raise FleetError(
            f"Deployments are in progress: processes {', '.join(map(str, busy))}.",
            remedy="Wait for their end, or use --force, which leaves their outcome unreported.",
        )
    manager = ServiceManager(host)
    manager.stop()
    manager.disable()
    _remove_listed(host, known, tell)
    manager.reload()
    shutil.rmtree(host.at(places.VERSIONS), ignore_errors=True)
    if options.purge:
        _purge(host, tell)
    # The manifest goes last, so that a run that was interrupted is finished by the next.
    for path in (places.CURRENT, *_MADE_BY_THE_AGENT, places.RESTART_DUE, places.MANIFEST, places.LOCK):
        _unlink(host.at(path))
    return True


def _lasting_workers(host: Places) -> list[int]:
    """The workers that are not about to end: a deployment has succeeded for the service a moment before that."""
    end = time.monotonic() + _GRACE
    while (busy := _workers(host)) and time.monotonic() < end:
        time.sleep(0.05)
    return busy


def _workers(host: Places) -> list[int]:
    used = versions.in_use(host, versions.installed(host))
    found = {process for processes in used.values() for process in processes}
    return sorted(process for process in found if _WORKER in versions.command_line(process))


def _remove_listed(host: Places, known: Manifest, tell: Tell) -> None:
    for path, digest in known.files.items():
        there = host.at(path)
        if path == places.CONFIG and _digest(there) not in (None, digest):
            tell(f"{path} was changed since it was written, and stays.")
        else:
            _unlink(there)
    for path, target in known.links.items():
        there = host.at(path)
        if os.path.islink(there) and os.readlink(there) == target:
            os.unlink(there)


def _purge(host: Places, tell: Tell) -> None:
    elsewhere = official.root_dir(host)
    if not os.path.normpath(elsewhere).startswith(f"{places.HOME}/"):
        tell(f"Deployments lie in {elsewhere}, which is left for you to remove.")
    for path in _PURGED:
        shutil.rmtree(host.at(path), ignore_errors=True)
    for path in [*glob.glob(host.at(f"{places.UNIT}.saved")), host.at(places.INSTALL_LOG)]:
        _unlink(path)


def _remove_empty_folders(host: Places) -> None:
    for path in _EMPTY_FOLDERS:
        try:
            os.rmdir(host.at(path))
        except OSError:
            continue  # not empty, so somebody else's too, or not there


def _digest(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _unlink(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
