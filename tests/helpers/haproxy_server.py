"""A real HAProxy from Debian in front of servers of this machine, with its Runtime API on a UNIX socket and on TCP."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from waiting import until

CONFIGURATION = """\
global
    stats socket {socket} mode 600 level admin
    stats socket ipv4@{address}:{runtime} level admin
    stats timeout 10s
defaults
    mode http
    retries 0
    timeout connect 2s
    timeout client 10s
    timeout server 10s
    timeout check 2s
frontend in
    bind {address}:{port}
    default_backend web
backend web
    option httpchk GET /health
    default-server check inter {check} fastinter {check} downinter 50ms rise 2 fall 2
{servers}
"""


class Haproxy:
    """One HAProxy at an address; ``servers`` are name, port or ``ADDRESS:PORT``, and weight in backend ``web``.

    It sends no request a second time, so that visitors see whatever goes wrong. Two checks, ``check`` apart, have to
    fail before it finds a server down.
    """

    def __init__(
        self,
        directory: Path,
        servers: Sequence[tuple[str, int | str, int]],
        *,
        address: str = "127.0.0.1",
        check: str = "50ms",
    ) -> None:
        self.address = address
        self.socket = str(directory / "admin.sock")
        self.port, self.runtime_port = free_port(address), free_port(address)
        self._path = directory / "haproxy.cfg"
        self._process: subprocess.Popen[bytes] | None = None
        self._path.write_text(
            CONFIGURATION.format(
                address=address,
                socket=self.socket,
                runtime=self.runtime_port,
                port=self.port,
                check=check,
                servers="\n".join(_line(name, place, weight) for name, place, weight in servers),
            )
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
        program = shutil.which("haproxy", path=path)
        assert program is not None
        self._process = subprocess.Popen(
            [program, "-db", "-f", str(self._path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        process = self._process
        until(self._answers, "haproxy's first answer", alive=lambda: process.poll() is None)

    def _answers(self) -> bool:
        try:
            return bool(self.ask("show info"))
        except OSError:
            return False

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask(self, command: str) -> str:
        """The answer of the Runtime API."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.socket)
            connection.sendall(command.encode() + b"\n")
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()

    def statuses(self) -> dict[str, str]:
        """The status of each server, as HAProxy's own statistics show it, without checks that are still counted."""
        lines = self.ask("show stat").removeprefix("# ").splitlines()
        header = lines[0].split(",")
        rows = [dict(zip(header, line.split(","), strict=False)) for line in lines[1:] if line]
        return {
            row["svname"]: row["status"].split()[0]
            for row in rows
            if row["pxname"] == "web" and row["svname"] not in ("BACKEND", "FRONTEND")
        }

    def is_drained(self, name: str) -> bool:
        """Whether a server was told to drain; its status is DOWN all the same while its health checks fail."""
        rows = [line.split() for line in self.ask("show servers state web").splitlines()]
        place = next(row for row in rows if row[:1] == ["#"]).index("srv_admin_state") - 1
        return any(row[3:4] == [name] and bool(int(row[place]) & 0x08) for row in rows)

    def until(self, name: str, status: str) -> None:
        """Wait until a server has a status."""
        until(lambda: self.statuses()[name].startswith(status), lambda: f"{status}: {name} is {self.statuses()[name]}")

    def __enter__(self) -> Haproxy:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _line(name: str, place: int | str, weight: int) -> str:
    where = place if isinstance(place, str) else f"127.0.0.1:{place}"
    return f"    server {name} {where} weight {weight}"


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody uses."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        found: int = probe.getsockname()[1]
        return found
