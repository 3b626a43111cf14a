"""The command service's operations, each one request over the wire."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from agent.network.credentials import Credentials
from agent.network.http import HttpClient
from agent.network.signing import sign
from agent.service.endpoint import Endpoint
from agent.service.errors import ProtocolError, ServiceErrorKind
from agent.service.replies import error_for
from agent.service.shapes import parse, serialise
from agent.service.throttle import ThrottleGate

# The service decides by this version what an agent is sent: 1.6.0 is the oldest that it still serves, and 2.1.0 the
# first that gets RESTART deployments. So it says with which official agent ours is compatible; it is not ours.
AGENT_VERSION = "2.1.0"

CONTENT_TYPE = "application/x-amz-json-1.1"
LARGEST_REPLY = 1 << 20
CONNECT_TIMEOUT = 10.0
LONGEST_NAME = 1024
"""Characters of an identifier or a name that the service gives."""

DEPLOYMENT_SYSTEM = "CodeDeploy"


class HostCommand(NamedTuple):
    """A command for this host, as a poll brings it."""

    identifier: str
    host_identifier: str
    execution_id: str
    name: str


class DeploymentEnvelope(NamedTuple):
    """A deployment specification as the service hands it out: ``payload`` is to be verified, not trusted."""

    deployment_system: str
    format: str
    payload: str


class CommandService:
    """A client of the command service.

    Every method sends one request, once the gate is open. Raises ServiceError (its ``kind`` says what to make of it),
    ProtocolError for an answer that makes no sense, NetworkError when none came.
    ``read_timeout`` is in seconds, for a whole answer: the service holds a poll open for a while when there is nothing
    to do.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        credentials: Callable[[], Credentials],
        http: HttpClient,
        read_timeout: float = 80.0,
        gate: ThrottleGate | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._http = http
        self._read_timeout = read_timeout
        self._gate = ThrottleGate(None) if gate is None else gate

    @property
    def url(self) -> str:
        """Where the service is asked."""
        return self._endpoint.url

    def poll(self, host_identifier: str) -> HostCommand | None:
        """Ask for a command, None when there is nothing to do.

        Raises ProtocolError for a command without a name or for another host: one is ours when its host identifier
        is not empty and contained in ours, as the official agents judge it.
        """
        body = serialise("PollHostCommand", {"HostIdentifier": host_identifier})
        reply = self._call("PollHostCommand", body)
        found = reply.get("HostCommand")
        if found is None:
            return None
        command = HostCommand(
            _name(found, "HostCommandIdentifier"),
            _name(found, "HostIdentifier"),
            _name(found, "DeploymentExecutionId"),
            _name(found, "CommandName"),
        )
        if command.host_identifier not in host_identifier:
            raise ProtocolError(
                f"The service sent a command for {command.host_identifier}, but this host is {host_identifier}.",
                remedy="It is not executed. Check that no two hosts use one identity.",
            )
        return command

    def specification(self, execution_id: str, host_identifier: str) -> DeploymentEnvelope:
        """Fetch the deployment specification of a command, still in its envelope."""
        operation = "GetDeploymentSpecification"
        members = {"DeploymentExecutionId": execution_id, "HostIdentifier": host_identifier}
        reply = self._call(operation, serialise(operation, members))
        system = reply.get("DeploymentSystem", "")
        if system != DEPLOYMENT_SYSTEM:
            raise ProtocolError(f"The deployment is of the system {_shown(system)}, and not of {DEPLOYMENT_SYSTEM}.")
        envelope = reply.get("DeploymentSpecification", {}).get("GenericEnvelope", {})
        kind, payload = envelope.get("Format", ""), envelope.get("Payload", "")
        if not kind or not payload:
            raise ProtocolError("The service sent no deployment specification for this command.")
        return DeploymentEnvelope(system, kind, payload)

    def acknowledge(self, command_identifier: str, *, is_noop: bool) -> str:
        """Take a command on; gives its status, an empty text if the service names none.

        ``Succeeded`` and ``Failed`` mean that it is over and must not be executed.
        """
        operation = "PutHostCommandAcknowledgement"
        members = {
            "HostCommandIdentifier": command_identifier,
            "Diagnostics": {"Format": "JSON", "Payload": _compact({"IsCommandNoop": is_noop})},
        }
        reply = self._call(operation, serialise(operation, members))
        return str(reply.get("CommandStatus", ""))

    def complete(self, command_identifier: str, *, status: str, payload: str) -> None:
        """Report the end of a command: ``Succeeded`` or ``Failed``, and its diagnostics as a JSON text."""
        operation = "PutHostCommandComplete"
        members = {
            "HostCommandIdentifier": command_identifier,
            "CommandStatus": status,
            "Diagnostics": {"Format": "JSON", "Payload": payload},
        }
        self._call(operation, serialise(operation, members))

    def _call(self, operation: str, body: bytes) -> dict[str, Any]:
        self._gate.wait()
        status, headers, reply = self._send(operation, body)
        if status == 200:
            self._gate.succeeded()
            return parse(operation, reply)
        error = error_for(operation, status, headers, reply)
        if error.kind is ServiceErrorKind.THROTTLED:
            self._gate.throttled()
        raise error

    def _send(self, operation: str, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        with self._http.request(
            "POST",
            self._endpoint.url,
            headers=self._sign(operation, body),
            body=body,
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=self._read_timeout,
        ) as response:
            return response.status, response.headers, response.read(LARGEST_REPLY)

    def _sign(self, operation: str, body: bytes) -> dict[str, str]:
        return sign(
            "POST",
            self._endpoint.url,
            headers={
                "Content-Type": CONTENT_TYPE,
                "X-Amz-Target": f"{self._endpoint.target_prefix}.{operation}",
                "X-Amz-Codedeploy-Agent-Version": AGENT_VERSION,
            },
            body=body,
            credentials=self._credentials(),
            service=self._endpoint.signing_name,
            region=self._endpoint.region,
        )


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _name(members: Mapping[str, Any], member: str) -> str:
    value = str(members.get(member, ""))
    if not value:
        raise ProtocolError(f"The service sent a command without {member}.", remedy="It is not executed.")
    if len(value) > LONGEST_NAME or not value.isprintable():
        raise ProtocolError(f"The service sent a command whose {member} is {_shown(value)}.")
    return value


def _shown(value: str) -> str:
    return repr(value) if len(value) <= 80 else f"{value[:80]!r}..."
