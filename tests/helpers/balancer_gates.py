"""Load balancers of each kind with this host in them, and a gate before and behind each call that they are sent.

A walk over all calls holds the caller at one of them, for good: it is killed there.
"""

from __future__ import annotations

import socketserver
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from balancer_server import EVERY, REGION, Balancers
from haproxy_server import Haproxy

ME, OTHER = "10.0.0.1:80", "10.0.0.2:80"

SIDES = ("before", "after")


class Gates:
    """Counts the calls, and holds the one that it is told to, before it has an effect or after it."""

    def __init__(self) -> None:
        self.calls = 0
        self.open = 0
        """Calls that have an effect of their own, whoever has made them, and have not ended."""
        self.reached = threading.Event()
        self._target = (0, "")
        self._release = threading.Event()
        self._lock = threading.Lock()

    def hold(self, number: int, side: str) -> None:
        """Hold the nth call from now on."""
        with self._lock:
            self.reached, self._release = threading.Event(), threading.Event()
            self._target = (self.calls + number, side)

    def release(self) -> None:
        """Hold nobody any more, and let go who is held; whoever was killed gets no answer."""
        with self._lock:
            self._target = (0, "")
            self._release.set()

    def come(self) -> int:
        """A call has come; gives its number."""
        with self._lock:
            self.calls += 1
            return self.calls

    def passes(self, number: int, side: str) -> bool:
        """Whether a call goes on by itself; where it does not, this returns when nobody waits for the call any more."""
        with self._lock:
            held = (number, side) == self._target
            reached, release = self.reached, self._release
        if held:
            reached.set()
            release.wait()
        return not held


class Place(ABC):
    """This host at some balancers of one kind."""

    gates: Gates

    @property
    @abstractmethod
    def provider(self) -> dict[str, Any]:
        """What the configuration has to say about it."""

    @abstractmethod
    def is_in(self) -> bool:
        """Whether this host takes traffic everywhere."""

    @abstractmethod
    def is_out(self) -> bool:
        """Whether this host takes traffic nowhere."""


class Elastic(Place):
    """This host in target groups, or at classic load balancers: ``places``, in which it is ``me``."""

    def __init__(self, balancers: Balancers, provider: dict[str, Any], places: list[str], me: str) -> None:
        self.gates = Gates()
        self._balancers = balancers
        self._provider = provider | {"region": REGION, "endpoint": balancers.url}
        self.places = places
        self.names = provider.get("target_groups", [])
        self._me = me
        self._number = threading.local()
        balancers.before[EVERY] = self._before
        balancers.after[EVERY] = self._after

    @property
    def provider(self) -> dict[str, Any]:
        return self._provider

    def is_in(self) -> bool:
        return all(state == "healthy" for state in self._states())

    def is_out(self) -> bool:
        return all(state is None for state in self._states())

    def _states(self) -> list[str | None]:
        return [self._balancers.states(place).get(self._me) for place in self.places]

    def _before(self, *_: object) -> tuple[int, str] | None:
        self._number.value = self.gates.come()  # a thread answers one request
        return None if self.gates.passes(self._number.value, "before") else (503, "ServiceUnavailable")

    def _after(self, *_: object) -> tuple[int, str] | None:
        return None if self.gates.passes(getattr(self._number, "value", 0), "after") else (503, "ServiceUnavailable")


def target_groups(balancers: Balancers, count: int = 2) -> Elastic:
    """This host in some target groups."""
    names, arns = zip(*[balancers.target_group(ME, OTHER) for _ in range(count)], strict=True)
    return Elastic(balancers, {"type": "elbv2", "target_groups": list(names), "target_ids": ["10.0.0.1"]}, [*arns], ME)


def classic(balancers: Balancers) -> Elastic:
    """This host at a classic load balancer."""
    me, other = "i-0123456789abcdef0", "i-0123456789abcdef1"
    name = balancers.classic(me, other)
    return Elastic(balancers, {"type": "elb", "load_balancers": [name], "instance_id": me}, [name], me)


class Relayed(Place):
    """This host at a real HAProxy, whose Runtime API is reached through a relay with gates."""

    def __init__(self, haproxy: Haproxy, name: str, address: tuple[str, int], gates: Gates) -> None:
        self.gates = gates
        self._haproxy = haproxy
        self._name = name
        self._address = address

    @property
    def provider(self) -> dict[str, Any]:
        host, port = self._address
        return {"type": "haproxy", "sockets": [f"{host}:{port}"], "servers": [f"web/{self._name}"]}

    def is_in(self) -> bool:
        return self._haproxy.statuses()[self._name] == "UP"

    def is_out(self) -> bool:
        return self._haproxy.is_drained(self._name)


@contextmanager
def relayed(haproxy: Haproxy, name: str) -> Iterator[Relayed]:
    """A relay to the Runtime API of a running HAProxy, for one of its servers."""
    gates = Gates()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            command = self.rfile.readline().decode().strip()
            number = gates.come()
            if gates.passes(number, "before"):
                answer = haproxy.ask(command)
                if gates.passes(number, "after"):
                    self.wfile.write(answer.encode())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            return  # a client that was killed

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield Relayed(haproxy, name, ("127.0.0.1", server.server_address[1]), gates)
        finally:
            gates.release()
            server.shutdown()
            thread.join()


class Programs(Place):
    """This host behind a router that an operator's programs speak to; a file says whether it is in."""

    def __init__(self, directory: Path) -> None:
        self.gates = Gates()
        self._state = directory / "router"
        self._state.write_text("in\n")
        self._socket = str(directory / "gate.sock")
        self._programs = {}
        effects = {"block": f"echo out > {self._state}", "allow": f"echo in > {self._state}", "drained": "true"}
        effects |= {"status": f"grep -q in {self._state}", "healthy": "true"}
        for action, effect in effects.items():
            path = directory / action
            path.write_text(_PROGRAM.format(socket=self._socket, effect=effect))
            path.chmod(0o755)
            self._programs[action] = [str(path)]

    @property
    def provider(self) -> dict[str, Any]:
        return {"type": "command", "name": "router", **self._programs}

    def is_in(self) -> bool:
        return self._state.read_text() == "in\n"

    def is_out(self) -> bool:
        return self._state.read_text() == "out\n"

    @contextmanager
    def served(self) -> Iterator[Programs]:
        """Serve the gates that the programs pass: each asks before its effect and after it."""
        gates = self.gates

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                gates.open += 1  # one program runs at a time
                try:
                    number = gates.come()
                    for side in SIDES:
                        self.rfile.readline()
                        gates.passes(number, side)
                        self.wfile.write(b"go\n")
                    self.rfile.read()
                finally:
                    gates.open -= 1

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                return  # a client that was killed

        with Server(self._socket, Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield self
            finally:
                gates.release()
                server.shutdown()
                thread.join()


_PROGRAM = """\
#!/usr/bin/env python3
import socket, subprocess, sys
with socket.socket(socket.AF_UNIX) as gate:
    gate.connect("{socket}")
    answers = gate.makefile("r")
    gate.sendall(b"before\\n")
    answers.readline()
    status = subprocess.call(["sh", "-c", "{effect}"])
    gate.sendall(b"after\\n")
    answers.readline()
sys.exit(status)
"""
