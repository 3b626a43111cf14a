"""HAProxy: this host as a server of backends, moved over the Runtime API of one or several HAProxy processes."""

from __future__ import annotations

import csv
import io
import re
import socket
import time
from collections.abc import Mapping
from typing import Any

from agent.traffic.errors import TrafficError
from agent.traffic.provider import CallLimits, Look, Member, Stage, Step

LIMIT = 5.0
"""Seconds for each part of an answer of the Runtime API; it answers from memory."""

WHOLE_LIMIT = 30.0

LARGEST_ANSWER = 8 * 1024 * 1024

DRAIN_LIMIT = 300.0
"""Seconds for open sessions to end; HAProxy itself has no such limit."""

HEALTHY_LIMIT = 120.0

_NUMBER = re.compile(r"[0-9]{1,9}")

# The bits of srv_admin_state, as HAProxy's management guide has them.
_MAINTENANCE = 0x01 | 0x02 | 0x04 | 0x20
_DRAIN = 0x08 | 0x10


class HaproxyServers:
    """The servers that a provider of type ``haproxy`` names, at each of its sockets."""

    forgets = True

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._sockets = config["sockets"]
        self._servers = config["servers"]

    def find(self) -> list[Member]:
        """Each server at each HAProxy, with its weight."""
        found = []
        for address in self._sockets:
            for name in self._servers:
                state = _state(address, name)
                details = {"socket": address, "server": name, "weight": int(state["srv_uweight"])}
                member = Member(self._config, f"server {name} at {address}", details, "")
                look = self.look(member)
                out = look.stage in (Stage.OUT, Stage.DRAINING)
                found.append(member._replace(former=look.text, step=Step.WAS_OUT if out else Step.PLANNED))
        return found

    def block(self, member: Member) -> None:
        """Set the server to drain: open sessions go on, new ones go elsewhere."""
        _order(member, f"set server {member.details['server']} state drain")

    def allow(self, member: Member) -> None:
        """Set the server to ready, with the weight that it had."""
        name, weight = member.details["server"], member.details["weight"]
        _order(member, f"set server {name} state ready")
        if int(_state(member.details["socket"], name)["srv_uweight"]) != weight:
            _order(member, f"set server {name} weight {weight}")

    def look(self, member: Member) -> Look:
        """What HAProxy does with the server, and how many sessions it still has there."""
        address, name = member.details["socket"], member.details["server"]
        state = _state(address, name)
        row = _statistics_of(address, name)
        admin, sessions = int(state["srv_admin_state"]), int(row["scur"] or 0)
        if admin & (_MAINTENANCE | _DRAIN) or int(state["srv_uweight"]) == 0:
            word = "maintenance" if admin & _MAINTENANCE else "drain"
            return Look(Stage.DRAINING if sessions else Stage.OUT, f"{word}, {sessions} sessions")
        return Look(Stage.HEALTHY if _is_up(row) else Stage.STARTING, row["status"])

    def others(self, member: Member) -> int | None:
        """How many other servers of the backend are up."""
        name = member.details["server"]
        rows = _statistics(member.details["socket"], name)
        return len([row for row in rows if row["svname"] != name.split("/")[1] and _is_up(row)])

    def limits(self, member: Member) -> CallLimits:
        """Our own limits: HAProxy waits for sessions as long as they take."""
        return CallLimits(DRAIN_LIMIT, HEALTHY_LIMIT)


def _is_up(row: Mapping[str, str]) -> bool:
    return row["status"].startswith(("UP", "no check"))


def _state(address: str, name: str) -> dict[str, str]:
    """The server's row of ``show servers state``. Raises TrafficError where there is none."""
    backend, server = name.split("/")
    command = f"show servers state {backend}"
    lines = _ask(address, command).splitlines()
    header = next((line.removeprefix("# ").split() for line in lines if line.startswith("# ")), [])
    for line in lines:
        row = dict(zip(header, line.split(), strict=False))
        if row.get("srv_name") == server and row.get("be_name") == backend:
            if not all(_NUMBER.fullmatch(row.get(key, "")) for key in ("srv_admin_state", "srv_uweight")):
                raise _odd(address, line, command)
            return row
    if not {"srv_name", "be_name"} <= set(header) and not lines[0].startswith("Can't find backend"):
        raise _odd(address, lines[0], command)
    raise TrafficError(
        f"HAProxy at {address} knows no server {name}.",
        remedy="Compare with: echo 'show servers state' | socat - " + address,
        gone=True,
    )


def _statistics_of(address: str, name: str) -> dict[str, str]:
    for row in _statistics(address, name):
        if row["svname"] == name.split("/")[1]:
            return row
    raise TrafficError(f"HAProxy at {address} has no statistics of server {name}.", passing=True)


def _statistics(address: str, name: str) -> list[dict[str, str]]:
    """The rows of ``show stat`` for the servers of a server's backend."""
    backend = name.split("/")[0]
    answer = _ask(address, "show stat").removeprefix("# ")
    try:
        rows = [row for row in csv.DictReader(io.StringIO(answer)) if row.get("pxname") == backend]
    except csv.Error:
        raise _odd(address, answer, "show stat") from None
    for row in rows:
        if None in (row.get("svname"), row.get("status")) or not _NUMBER.fullmatch(row.get("scur") or "0"):
            raise _odd(address, ",".join(str(value) for value in row.values()), "show stat")
    return [row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")]


def _odd(address: str, answer: str, command: str) -> TrafficError:
    return TrafficError(
        f"HAProxy at {address} answers {answer[:200]!r} to: {command}.",
        remedy="See whether it is HAProxy that listens there; if it is, report this answer as a defect of the agent.",
    )


def _order(member: Member, command: str) -> None:
    address = member.details["socket"]
    answer = _ask(address, command).strip()
    if answer:
        gone = answer.startswith(("No such server", "No such backend"))
        raise TrafficError(
            f"HAProxy at {address} answers {answer[:200]!r} to: {command}.",
            remedy="Its socket needs level admin (stats socket ... level admin).",
            gone=gone,
        )


def _ask(address: str, command: str) -> str:
    """Send one command to a Runtime API and read its whole answer, of which the empty line at the end is a part."""
    answer = bytearray()
    end = time.monotonic() + WHOLE_LIMIT
    try:
        with _connect(address) as connection:
            connection.sendall(command.encode() + b"\n")
            while (part := connection.recv(65536)) and len(answer) <= LARGEST_ANSWER and time.monotonic() < end:
                answer += part
    except (OSError, TimeoutError) as error:
        reason = error.strerror or "no answer in time"
        raise TrafficError(
            f"HAProxy's Runtime API at {address} cannot be asked: {reason}.",
            remedy="Is HAProxy running, and may this host reach its stats socket?",
            passing=not isinstance(error, PermissionError),
        ) from error
    if answer != b"\n" and not answer.endswith(b"\n\n"):
        # Of a HAProxy that was ended in the middle; whatever is missing must not be taken for a server that is gone.
        raise TrafficError(
            f"HAProxy at {address} broke off its answer to: {command}.",
            remedy="Was it restarted, or is it no Runtime API that listens there?",
            passing=True,
        )
    return answer.decode("utf-8", "replace")


def _connect(address: str) -> socket.socket:
    if not address.startswith("/"):
        host, _, port = address.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), LIMIT)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(LIMIT)
    try:
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection
