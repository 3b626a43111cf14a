"""Remove the agent from a host: exactly what was installed, and deployments only when told so."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from agent.fleet import manifest, official, places, versions
from agent.fleet.errors import FleetError
from agent.fleet.host_lock import host_lock
from agent.fleet.manifest import Manifest
from agent.fleet.placement import Tell, save_if_changed
from agent.fleet.places import Places
from agent.fleet.service_manager import ServiceManager

_WORKER = "agent.worker.process"
"""The module that a worker's command line names."""
_GRACE = 2.0  # seconds
_PURGED = (
    places.DEPLOYMENT_ROOT,
    places.STATE,
    places.TAKEOVER,
    os.path.dirname(places.OLD_CONFIG),
    places.SETTINGS_DIRECTORY,
    places.LOGS,
    f"{places.UNIT}.saved",
    f"{places.RESTART_STEPS}.saved",
    places.INSTALL_LOG,
)
"""What only a purge removes; the ``.saved`` ones are units that an administrator had changed."""
_PID_FILE = f"{places.STATE}/.pid/codedeploy-agent.pid"
_RECORDS = f"{places.DEPLOYMENT_ROOT}/agent-state"
_MADE_BY_THE_AGENT = (
    places.VERSION_FILE,
    _PID_FILE,
    f"{_PID_FILE}.lock",
    f"{_RECORDS}/status.json",
    f"{_RECORDS}/locks/agent.lock",
)
_ELSEWHERE = (
    ("root_dir", "Deployments lie", places.DEPLOYMENT_ROOT),
    ("on_premises_config_file", "The registration with its key lies", places.ON_PREMISES),
    ("log_dir", "Logs lie", places.LOGS),
)
_EMPTY_DIRECTORIES = (
    f"{_RECORDS}/locks",
    _RECORDS,
    places.DEPLOYMENT_ROOT,
    places.DROP_INS,
    places.BIN,
    places.VERSIONS,
    f"{places.STATE}/.pid",
    places.STATE,
    places.CONFIG_DIRECTORY,
    places.SETTINGS_DIRECTORY,
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

    What hooks have installed and started stays. Raises FleetError while a deployment is in progress, unless forced,
    and at the end where something could not be removed.
    """
    host = Places(options.root)
    if host.is_host and os.geteuid() != 0:
        raise FleetError("Only root can remove the agent from this host.", remedy="Use sudo.")
    if not os.path.isdir(host.at(places.HOME)) and not options.purge:
        return False
    left: list[str] = []
    with host_lock(host, tell):
        installed = _remove(host, options, tell, left)
        _unlink(host.at(places.LOCK))
    _remove_empty(host, _EMPTY_DIRECTORIES)
    if not options.purge:
        _tell_what_is_kept(host, tell)
    if left:
        raise FleetError(
            f"All else is removed, but these could not be, or are links: {', '.join(left)}.",
            remedy="Look at them and remove them yourself: keys may be in them.",
        )
    return installed


def _remove(host: Places, options: UninstallOptions, tell: Tell, left: list[str]) -> bool:
    known = manifest.load(host)
    if known is None:
        _remove_remains(host, options, tell, left)
        return False
    manager = ServiceManager(host)
    _refuse_while_busy(host, options)
    manager.stop()
    try:
        _refuse_while_busy(host, options)  # the last poll may have brought another command
    except (FleetError, KeyboardInterrupt):
        manager.start()
        raise
    manager.disable()
    if options.purge:
        _tell_of_places_elsewhere(host, tell)  # before the configuration goes
    _remove_listed(host, known, tell)
    manager.reload()
    left += _remove_trees(host, [places.VERSIONS])
    if options.purge:
        left += _purge(host)
    # The manifest goes last, so that a run that was interrupted is finished by the next.
    for path in (places.CURRENT, *_MADE_BY_THE_AGENT, places.RESTART_DUE, places.MANIFEST):
        _unlink(host.at(path))
    return True


def _remove_remains(host: Places, options: UninstallOptions, tell: Tell, left: list[str]) -> None:
    """Remove what an earlier uninstall has kept, or a first installation that failed; never an official agent's."""
    found = official.find_official(host, ours=())
    if found is None:
        left += _remove_trees(host, [places.VERSIONS])
        if options.purge:
            _tell_of_places_elsewhere(host, tell)
            kept = [path for path in _PURGED if host.holder(path)]
            left += _purge(host)
            removed = [path for path in kept if path not in left]
            if removed:
                tell(f"Removed what was kept before: {', '.join(removed)}.")
            elif not left:
                tell("Nothing was left to remove.")
    elif options.purge:
        raise FleetError(
            f"Nothing was removed: the agent on this host is the official one: {found}.",
            remedy="Remove it with the package manager; what it leaves is yours to remove then.",
        )


def _refuse_while_busy(host: Places, options: UninstallOptions) -> None:
    busy = [] if options.force else _lasting_workers(host)
    if busy:
        raise FleetError(
            f"Deployments are in progress: processes {', '.join(map(str, busy))}.",
            remedy="Wait for their end, or use --force, which leaves their outcome unreported.",
        )


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
            save_if_changed(host, path, digest, tell)
            _unlink(there)
    for path, target in known.links.items():
        there = host.at(path)
        if os.path.islink(there) and os.readlink(there) == target:
            os.unlink(there)
    _remove_empty(host, reversed(known.directories))


def _tell_of_places_elsewhere(host: Places, tell: Tell) -> None:
    for setting, what, usual in _ELSEWHERE:
        found = os.path.normpath(official.place_in_config(host, setting) or usual)
        if found != usual:
            tell(f"{what} in {found}: that is left for you to remove.")


def _purge(host: Places) -> list[str]:
    """Remove what is not the agent itself; return what is left of that."""
    return _remove_trees(host, _PURGED)


def _tell_what_is_kept(host: Places, tell: Tell) -> None:
    """Report what only a purge removes, and how it is removed later, as this program is gone by then."""
    kept = [path for path in _PURGED if host.holder(path)]
    if kept and official.find_official(host, ours=()) is None:
        tell(
            "Records of deployments, configuration, registration and logs are kept. To remove them later, type as root:"
        )
        tell(f"    rm -rf {shlex.join(host.at(path) for path in kept)}")


def _remove_trees(host: Places, paths: Iterable[str]) -> list[str]:
    """Remove files and directories; give those that are left. Where a link leads is not ours to say."""
    for there in map(host.at, paths):
        if os.path.isdir(there) and not os.path.islink(there):
            shutil.rmtree(there, ignore_errors=True)
        elif not os.path.islink(there):
            with suppress(OSError):
                _unlink(there)
    return [path for path in paths if os.path.lexists(host.at(path))]


def _remove_empty(host: Places, directories: Iterable[str]) -> None:
    for path in directories:
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
