"""Which deployment each execution id belongs to, and which deployments go on: what a replayed message contradicts.

A signed specification names its deployment, but not the command that it was made for. So the first command that brings
one binds the two, and ``agent-state/bindings`` keeps that:

``pairs`` has 32 bytes for each execution id: half of the SHA-256 digest of it, and half of that of its deployment's id.
Nothing is ever removed from it. ``going-on.json`` says for each deployment group which deployments go on; one that is
in ``pairs`` and not there is over, so losing this file forgets no binding.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator

from agent.deployment.lifecycle import LIFECYCLE
from agent.errors import AgentError
from agent.filesystem.durable import sync_directory, write_durably
from agent.filesystem.locks import FileLock
from agent.filesystem.regular import open_regular, read_regular
from agent.store.directories import make_state_directory
from agent.store.layout import Layout

MOST_PAIRS = 1 << 19
"""16 MiB. At one deployment every ten minutes that is ten years."""

MOST_EXECUTIONS = 32
"""Execution ids of one deployment; the service needs one."""

MOST_GOING_ON = 4
"""Deployments of one group that go on at a time; the service allows one."""

_HALF = 16
_PAIR = 2 * _HALF
_LARGEST = 1 << 20
_LOCK_LIMIT = 60.0  # seconds; it is held for a few milliseconds
_SHOWN = 129  # characters: as many as an execution id may have

_ORDER = {event.name: number for number, event in enumerate(LIFECYCLE)}
_LAST = LIFECYCLE[-1].name
_MAY_FAIL = _ORDER["ApplicationStop"]
"""A deployment may go on after a failure of this event and of those before it (``ignoreApplicationStopFailures``)."""
_ENDS = _ORDER["ValidateService"]

GoingOn = dict[str, dict[str, str]]
"""The deployments of each group that go on, the newest last, with the last event that can end one and is done."""

_log = logging.getLogger(__name__)


class ReplayError(AgentError):
    """A signed specification came with a command that it does not belong to; nothing was done."""


class Bindings:
    """The bindings of one host. Every method raises OSError, LockTimeoutError and RootDirectoryError besides."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._directory = os.path.join(layout.state, "bindings")
        self._pairs = os.path.join(self._directory, "pairs")
        self._going_on = os.path.join(self._directory, "going-on.json")

    def bind(self, execution_id: str, command_name: str, *, deployment_id: str, group_id: str) -> bool:
        """Bind an execution id to its deployment, durably; a binding that is known already is only compared.

        Return whether the deployment is new to this host.
        Raises ReplayError where the deployment is over, or the execution id belongs to another one. Warns where the
        deployment goes on under another execution id, as the service may have it.
        """
        execution, deployment = _digest(execution_id), _digest(deployment_id)
        with self._lock():
            pairs = self._read_pairs()
            owner = next((pairs[at + _HALF : at + _PAIR] for at in _places(pairs, execution, 0)), None)
            executions = sum(1 for _ in _places(pairs, deployment, _HALF))
            groups = self._read_going_on()
            group = groups.setdefault(group_id, {})
            if owner not in (None, deployment):
                raise _replay(command_name, execution_id, f"that id belongs to another deployment than {deployment_id}")
            if executions:
                self._check_going_on(group, execution_id, command_name, deployment_id, is_new=owner is None)
            if owner is not None:
                return False
            if executions >= MOST_EXECUTIONS:
                what = f"the deployment {deployment_id} has come under {executions} ids before"
                raise _replay(command_name, execution_id, what)
            if executions:
                _log.warning("Deployment %s goes on under another execution id, %.129r", deployment_id, execution_id)
            elif deployment_id not in group:
                # First: a pair without it is a deployment that is over.
                groups[group_id] = _with_newest(group, deployment_id)
                self._write_going_on(groups)
            self._append(pairs, execution + deployment)
        return not executions

    def end(self, command_name: str, *, deployment_id: str, group_id: str, succeeded: bool) -> bool:
        """Note how a command of a deployment has ended; return whether that has ended the deployment for certain."""
        order = _ORDER.get(command_name, 0)
        if order <= _MAY_FAIL or (succeeded and order < _ENDS):
            return False
        with self._lock():
            groups = self._read_going_on()
            group = groups.get(group_id, {})
            if deployment_id not in group:
                return False
            known = list(group)
            newer = {one: group[one] for one in known[known.index(deployment_id) + 1 :]}
            is_over = not succeeded or command_name == _LAST
            groups[group_id] = newer if is_over else {deployment_id: command_name, **newer}
            self._write_going_on({name: members for name, members in groups.items() if members})
        return is_over

    def group_of(self, deployment_id: str) -> str:
        """Return the deployment group in which a deployment goes on, empty where none is known."""
        return next((group for group, members in self._read_going_on().items() if deployment_id in members), "")

    def knows(self, execution_id: str) -> bool:
        """Return whether a deployment has begun here under this execution id."""
        return next(_places(self._read_pairs(), _digest(execution_id), 0), None) is not None

    def newest_going_on(self) -> dict[str, str]:
        """Return the newest deployment of each group that has one which goes on."""
        return {group: list(members)[-1] for group, members in self._read_going_on().items() if members}

    @staticmethod
    def _check_going_on(
        group: dict[str, str], execution_id: str, command_name: str, deployment_id: str, *, is_new: bool
    ) -> None:
        done = group.get(deployment_id)
        if done is None or (is_new and deployment_id != list(group)[-1]):
            raise _replay(command_name, execution_id, f"the deployment {deployment_id} is over on this host")
        if done and _ORDER.get(command_name, len(_ORDER)) <= _ORDER.get(done, 0):
            what = f"the deployment {deployment_id} has come past {done} on this host"
            raise _replay(command_name, execution_id, what)

    def _lock(self) -> FileLock:
        make_state_directory(self._layout, self._layout.locks)
        lock = FileLock(os.path.join(self._layout.locks, "bindings.lock"), purpose="another command's binding")
        lock.acquire(limit=_LOCK_LIMIT)
        return lock

    def _read_pairs(self) -> bytes:
        try:
            data = read_regular(self._pairs, MOST_PAIRS * _PAIR)
        except FileNotFoundError:
            return b""
        return data[: len(data) // _PAIR * _PAIR]  # the rest was being written at a power cut, and nothing relied on it

    def _append(self, pairs: bytes, pair: bytes) -> None:
        if len(pairs) >= MOST_PAIRS * _PAIR:
            raise AgentError(
                f"{self._pairs} is full: it knows {MOST_PAIRS} deployments. Without room for another one the agent"
                " could not tell its replay later, so nothing was downloaded or run.",
                remedy="Have the service's messages signed by a new key, pin that one only, and then delete the file.",
            )
        make_state_directory(self._layout, self._directory)
        descriptor = open_regular(self._pairs, os.O_WRONLY | os.O_CREAT)
        try:
            os.pwrite(descriptor, pair, len(pairs))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if not pairs:
            sync_directory(self._directory)

    def _read_going_on(self) -> GoingOn:
        try:
            found = json.loads(read_regular(self._going_on, _LARGEST))
            if not isinstance(found, dict) or not all(map(_is_group, found.values())):
                raise ValueError("it has another format")
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError) as error:
            _log.warning("%s cannot be understood (%s): every deployment of before is over", self._going_on, error)
            return {}
        return found

    def _write_going_on(self, groups: GoingOn) -> None:
        make_state_directory(self._layout, self._directory)
        write_durably(self._going_on, json.dumps(groups).encode(), mode=0o600)


def _digest(text: str) -> bytes:
    import hashlib  # status is spared it

    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:_HALF]


def _places(pairs: bytes, half: bytes, offset: int) -> Iterator[int]:
    """Return where in ``pairs`` those begin that have this half at this offset."""
    at = pairs.find(half)
    while at >= 0:
        if at % _PAIR == offset:
            yield at - offset
        at = pairs.find(half, at + 1)


def _with_newest(group: dict[str, str], deployment_id: str) -> dict[str, str]:
    """Return a group's deployments with another one, without those that only the next one had to end."""
    kept = [one for one, done in group.items() if not done][1 - MOST_GOING_ON :]
    return dict.fromkeys([*kept, deployment_id], "")


def _is_group(found: object) -> bool:
    return isinstance(found, dict) and all(isinstance(done, str) for done in found.values())


def _replay(command_name: str, execution_id: str, what: str) -> ReplayError:
    return ReplayError(
        f"The command {command_name} of the execution {execution_id[:_SHOWN]!r} is refused as a replay: {what}.",
        remedy="Nothing was downloaded or run. To deploy it again, create a new deployment. If you did not start one,"
        " something between this host and the service sends old messages: look at proxy_uri and"
        " deploy_control_endpoint.",
    )
