"""What is to be taken out and what was: one durable file for each deployment group, read again after a crash."""

from __future__ import annotations

import json
import os
import re
from enum import Enum
from typing import Any, NamedTuple

from agent.filesystem.durable import remove_if_there, sync_directory, write_durably
from agent.filesystem.locks import FileLock
from agent.traffic.errors import TrafficError
from agent.traffic.policy import Policy
from agent.traffic.provider import Member, Step

VERSION = 1
"""Of the format of the files; one with another version is refused."""

OPEN = ".json"
FINALIZED = ".finalized"
_FINALIZED_BEFORE = ".settled"  # as earlier versions wrote it
"""How the files end: by the names alone it can be seen whether there is anything to look after."""

_LARGEST = 4 * 1024 * 1024
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class Phase(str, Enum):
    """Where this host is between in service and out."""

    BLOCKING = "blocking"
    OUT = "out"
    ALLOWING = "allowing"
    FINALIZED = "finalized"
    """Nothing is out because of us."""


class TrafficRecord(NamedTuple):
    """One deployment group's way out of its balancers and back; times in seconds since the epoch.

    ``since`` is when the first call was about to be made, ``touched`` when the deployment last had a command here.
    ``kept`` says why the host is out on purpose, empty where it is to come back; ``by_hand`` that a person took it
    out. ``seconds_out`` and ``back_at`` tell of the last time out, ``problem`` what recovery last met.
    """

    group_name: str
    policy: Policy
    phase: Phase
    members: tuple[Member, ...] = ()
    group_id: str = ""
    deployment_id: str = ""
    since: float = 0.0
    touched: float = 0.0
    kept: str = ""
    by_hand: bool = False
    seconds_out: float = 0.0
    back_at: float = 0.0
    problem: str = ""

    @property
    def is_finalized(self) -> bool:
        """Whether nothing is out because of us."""
        return self.phase is Phase.FINALIZED

    @property
    def ours(self) -> tuple[Member, ...]:
        """The places that this host is, or may be, out of because of us."""
        return tuple(member for member in self.members if member.step in (Step.PLANNED, Step.TAKEN))

    def with_step(self, member: Member, step: Step) -> TrafficRecord:
        """The record with one member further on."""
        changed = [one._replace(step=step) if one.same_place(member) else one for one in self.members]
        return self._replace(members=tuple(changed))


class Records:
    """The files of all groups in a directory that only the agent's user may enter; writing needs it to exist."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def read(self, group_name: str) -> TrafficRecord | None:
        """A group's record; None where there is none. Raises TrafficError where it cannot be read."""
        path = self._path(group_name)
        return next(filter(None, map(self._read, (path + OPEN, path + FINALIZED, path + _FINALIZED_BEFORE))), None)

    def write(self, record: TrafficRecord) -> None:
        """Write a record durably. Raises OSError."""
        fields = record._asdict() | {
            "policy": record.policy._asdict(),
            "members": [member._asdict() for member in record.members],
        }
        data = json.dumps({"version": VERSION, **fields}).encode()
        path = self._path(record.group_name)
        if not record.is_finalized:
            write_durably(path + OPEN, data, mode=0o600)
            return
        # Until the open record is gone it counts, and going through it again does no harm.
        write_durably(path + FINALIZED, data, mode=0o600)
        remove_if_there(path + _FINALIZED_BEFORE)
        if remove_if_there(path + OPEN):
            sync_directory(self._directory)

    def all(self) -> tuple[list[TrafficRecord], list[TrafficError]]:
        """Every record that is not finalized, and what is wrong with those that cannot be read. Raises OSError."""
        try:
            names = sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return [], []
        found, errors = [], []
        for name in names:
            if name.endswith(OPEN) and name[0] != ".":
                try:
                    record = self._read(os.path.join(self._directory, name))
                except TrafficError as error:
                    errors.append(error)
                else:
                    found += [record] if record is not None else []
        return found, errors

    def lock(self, group_name: str) -> FileLock:
        """The lock of whoever moves a group's traffic; not yet taken."""
        return FileLock(self._path(group_name) + ".lock", purpose=f'another move of the traffic of "{group_name}"')

    def _path(self, group_name: str) -> str:
        import hashlib  # status is spared OpenSSL where no group has moved

        digest = hashlib.sha256(group_name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        return os.path.join(self._directory, f"{_UNSAFE.sub('_', group_name)[:60].lstrip('.')}-{digest}")

    @staticmethod
    def _read(path: str) -> TrafficRecord | None:
        try:
            with open(path, "rb") as file:
                return _parse(json.loads(file.read(_LARGEST)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise TrafficError(
                f"The record {path} of what this host was taken out of cannot be read: {error}.",
                remedy="See at your balancers whether this host is out, put it back there, and remove the file.",
            ) from error


def _parse(fields: Any) -> TrafficRecord:  # noqa: ANN401 - whatever stands in the file
    if not isinstance(fields, dict) or fields.pop("version") != VERSION:
        raise ValueError("it has another format")
    fields["problem"] = fields.get("problem") or fields.pop("trouble", "")  # as earlier versions wrote it
    if fields["phase"] == "settled":  # as earlier versions wrote it
        fields["phase"] = Phase.FINALIZED
    members = [Member(**row | {"step": Step(row["step"])}) for row in fields["members"]]
    given = fields | {
        "policy": Policy(**fields["policy"]),
        "phase": Phase(fields["phase"]),
        "members": tuple(members),
    }
    return TrafficRecord(**given)
