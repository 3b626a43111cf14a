"""A command service over the wire, under a test's control: it hands out what it is told to and remembers every call.

The sandbox is the service to try the agent against; this one can be told to fail at a certain step, which no service
does on demand.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agent.sandbox.envelopes import EnvelopeSigner
from waiting import Guard

HOST = "arn:aws:iam::123456789012:user/host-1"

Call = tuple[str, dict[str, Any]]
Fault = Callable[[dict[str, Any]], "tuple[int, dict[str, Any]] | None"]


class CommandService:
    """What the service knows and was asked. ``faults[operation]`` may answer a request before the service does."""

    def __init__(self) -> None:
        self.signer = EnvelopeSigner.make()
        self.calls: list[Call] = []
        self.faults: dict[str, Fault] = {}
        self.hold = 0.2
        self.hand_out_again = False
        self.until_acknowledged = False
        self.ack_status = "InProgress"
        self.seal = self.signer.seal
        self.access_keys: list[str] = []
        self._ready: list[dict[str, str]] = []
        self._specifications: dict[str, bytes] = {}
        self._change = threading.Condition()
        self._number = 0
        self.url = ""

    def add(self, name: str, specification: dict[str, Any], *, execution: str = "") -> str:
        """Have a command ready for the next poll, of its deployment's execution or another; return its identifier."""
        with self._change:
            self._number += 1
            identifier = f"command-{self._number:04d}"
            execution = execution or f"{specification['DeploymentId']}/{HOST}"
            self._specifications[execution] = json.dumps(specification).encode()
            self._ready.append(
                {
                    "HostCommandIdentifier": identifier,
                    "HostIdentifier": HOST,
                    "DeploymentExecutionId": execution,
                    "CommandName": name,
                }
            )
            self._change.notify_all()
        return identifier

    def hand_out(self) -> dict[str, str]:
        """Take the next command from those that are ready, as a poll does."""
        with self._change:
            return self._ready.pop(0)

    def of(self, operation: str, identifier: str = "") -> list[dict[str, Any]]:
        """The requests of an operation, of one command if it is named."""
        with self._change:
            return [
                body
                for name, body in self.calls
                if name == operation and (not identifier or body.get("HostCommandIdentifier") == identifier)
            ]

    def completions(self, identifier: str) -> list[dict[str, Any]]:
        """What was accepted as the end of a command: status and diagnostics."""
        return [
            {"status": body["CommandStatus"], **json.loads(body["Diagnostics"]["Payload"])}
            for body in self.of("accepted", identifier)
        ]

    def wait_for(self, met: Callable[[], Any], what: str) -> Any:
        """Wait until something is so, looking after each call; gives what ``met`` gave."""
        guard = Guard()
        while True:
            found = met()
            if found:
                return found
            with self._change:
                if not self._change.wait(0.1) and guard.has_hung:
                    raise AssertionError(f"waited in vain for {what}; calls: {[name for name, _ in self.calls]}")

    def completion(self, identifier: str) -> dict[str, Any]:
        """Wait for the end of a command; gives its status and diagnostics."""
        self.wait_for(lambda: self.completions(identifier), f"the end of {identifier}")
        return self.completions(identifier)[0]

    def answer(self, operation: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._change:
            self.calls.append((operation, body))
            self._change.notify_all()
        fault = self.faults.get(operation)
        found = fault(body) if fault is not None else None
        if found is not None:
            return found
        reply: dict[str, Any] = getattr(self, f"_{operation}")(body)
        return 200, reply

    def _PollHostCommand(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        with self._change:
            if not self._ready:
                self._change.wait_for(lambda: bool(self._ready), self.hold)
            if not self._ready:
                return {}
            again = self.hand_out_again or self.until_acknowledged
            return {"HostCommand": self._ready[0] if again else self.hand_out()}

    def _GetDeploymentSpecification(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        sealed = self.seal(self._specifications[body["DeploymentExecutionId"]])
        envelope = {"Format": "PKCS7/JSON", "Payload": sealed}
        return {"DeploymentSystem": "CodeDeploy", "DeploymentSpecification": {"GenericEnvelope": envelope}}

    def _PutHostCommandAcknowledgement(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._withdraw(body)
        return {"CommandStatus": self.ack_status}

    def _PutHostCommandComplete(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._withdraw(body)
        with self._change:
            self.calls.append(("accepted", body))
            self._change.notify_all()
        return {}

    def _withdraw(self, body: dict[str, Any]) -> None:
        """HelperProcess a command out no more that the host has taken on."""
        identifier = body["HostCommandIdentifier"]
        with self._change:
            if self.until_acknowledged:
                self._ready = [row for row in self._ready if row["HostCommandIdentifier"] != identifier]


@contextmanager
def command_service() -> Iterator[CommandService]:
    """A running service on a free port of loopback."""
    service = CommandService()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            service.access_keys.append(self.headers["Authorization"].split("Credential=")[1].split("/")[0])
            status, reply = service.answer(self.headers["X-Amz-Target"].split(".")[1], body)
            data = json.dumps(reply).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            return  # a client that was killed

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def unavailable(_: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """A fault: the service is down."""
    return 500, {"__type": "ServerException", "message": "down"}
