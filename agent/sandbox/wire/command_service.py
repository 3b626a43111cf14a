"""The host command service on the wire."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Protocol

from botocore.model import ServiceModel  # type: ignore[import-untyped]

from agent.sandbox.engine.engine import Engine
from agent.sandbox.engine.records import Json
from agent.sandbox.errors import RefusedError
from agent.sandbox.wire import diagnostics
from agent.sandbox.wire.faults import Faults, HangUpError
from agent.sandbox.wire.journal import CallJournal
from agent.sandbox.wire.json_protocol import JsonProtocol
from agent.sandbox.wire.messages import Request, SandboxAnswer
from agent.sandbox.wire.sigv4 import Caller
from agent.service.shapes import load_model

SIGNING_NAMES = {
    "CodeDeployCommandService_v20141006.": "codedeploy-commands",
    "CodeDeployCommandService.": "codedeploy-commands-secure",
}
"""The signing name by the prefix of the operation's target."""

VERSION_HEADER = "x-amz-codedeploy-agent-version"
FIRST_AGENT, OLDEST_AGENT = (1, 0, 0), (1, 6, 0)

_VERSION = re.compile(r"(?:OFFICIAL_|v)?(\d+)\.(\d+)(?:\.(\d+))?(?:[.+_-].*)?")


class DocumentSigner(Protocol):
    """Seals a deployment specification as hosts expect it."""

    def seal(self, document: bytes) -> str:
        """Return the signed message as a PEM."""


class CommandServiceApi:
    """Answers hosts; every call is put down in the journal."""

    def __init__(self, engine: Engine, signer: DocumentSigner, journal: CallJournal, faults: Faults) -> None:
        self._engine = engine
        self._signer = signer
        self._journal = journal
        self._faults = faults
        model = ServiceModel(load_model(), "codedeploy-commands")
        self._protocol = JsonProtocol(model, invalid="ClientException")
        self._operations: dict[str, Callable[[Json, Caller, Request], Json]] = {
            "PollHostCommand": self._poll,
            "GetDeploymentSpecification": self._specification,
            "PutHostCommandAcknowledgement": self._acknowledge,
            "PostHostCommandUpdate": self._update,
            "PutHostCommandComplete": self._complete,
        }

    def answer(self, name: str, request: Request, authenticate: Callable[[], Caller]) -> SandboxAnswer:
        """Carry out an operation; ``authenticate`` gives its caller or refuses."""
        entry: Json = {"at": time.time(), "operation": name, "agent_version": request.headers.get(VERSION_HEADER)}
        try:
            caller = authenticate()
            entry["caller"] = caller.arn
            lost = self._faults.before(name)
            answer = self._carry_out(name, request, caller, entry)
            if lost:
                raise HangUpError("by request")
        except (RefusedError, HangUpError) as error:
            entry["error"] = error.fault if isinstance(error, RefusedError) else "HangUp"
            entry["message"] = str(error)
            raise
        finally:
            self._journal.add(entry)
        return answer

    def _carry_out(self, name: str, request: Request, caller: Caller, entry: Json) -> SandboxAnswer:
        model = self._protocol.operation(name)
        _version(request)
        params = self._protocol.read(request, model)
        entry["input"] = params
        output = self._operations[name](params, caller, request)
        entry["output"] = _without_envelope(output)
        return self._protocol.write(model, output)

    def _poll(self, params: Json, caller: Caller, request: Request) -> Json:
        host = params["HostIdentifier"]
        if host != self._host_of(caller):
            raise RefusedError("AccessDeniedException", f"{caller.arn} may not poll for {host}.")
        command = self._engine.poll(host, seconds=self._engine.limits.poll, listening=lambda: request.is_connected)
        if command is None:
            return {}
        return {
            "HostCommand": {
                "HostCommandIdentifier": command.identifier,
                "HostIdentifier": host,
                "DeploymentExecutionId": command.target.execution_id,
                "CommandName": command.event.name,
                "Nonce": 1,
            }
        }

    def _specification(self, params: Json, caller: Caller, request: Request) -> Json:
        host = params["HostIdentifier"]
        if host != self._host_of(caller):
            raise RefusedError("AccessDeniedException", f"{caller.arn} may not ask for what {host} deploys.")
        document = self._engine.specification(params["DeploymentExecutionId"], host, agent=_version(request))
        envelope = {"Format": "PKCS7/JSON", "Payload": self._signer.seal(document)}
        return {"DeploymentSystem": "CodeDeploy", "DeploymentSpecification": {"GenericEnvelope": envelope}}

    def _acknowledge(self, params: Json, caller: Caller, request: Request) -> Json:
        noop = diagnostics.is_noop(params.get("Diagnostics"))
        identifier = params["HostCommandIdentifier"]
        return {"CommandStatus": self._engine.acknowledge(identifier, self._host_of(caller), noop=noop)}

    def _update(self, params: Json, caller: Caller, request: Request) -> Json:
        return {"CommandStatus": self._engine.command_status(params["HostCommandIdentifier"], self._host_of(caller))}

    def _complete(self, params: Json, caller: Caller, request: Request) -> Json:
        succeeded, payload = diagnostics.result(params["CommandStatus"], params.get("Diagnostics"))
        identifier = params["HostCommandIdentifier"]
        self._engine.complete(identifier, self._host_of(caller), succeeded=succeeded, payload=payload)
        return {}

    def _host_of(self, caller: Caller) -> str:
        """Return the one host identifier that a caller may act for."""
        if caller.instance_id:
            return self._engine.scope.arn("ec2", f"instance/{caller.instance_id}")
        return caller.arn


def _version(request: Request) -> tuple[int, ...]:
    """Return the version of the calling agent, zeros for a text that is not a version number.

    Raises RefusedError without the header, and for an official agent that is too old. Versions below 1.0 and other
    texts come from builds that do not follow the official numbers; the service takes them.
    """
    text = request.headers.get(VERSION_HEADER, "")
    if not text:
        raise RefusedError("ClientException", f"The header {VERSION_HEADER} is missing.")
    found = _VERSION.fullmatch(text)
    version = tuple(int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    if FIRST_AGENT <= version < OLDEST_AGENT:
        raise RefusedError("ClientException", f"Agents before {'.'.join(map(str, OLDEST_AGENT))} are not supported.")
    return version


def _without_envelope(output: Json) -> Json:
    """Return an output as the journal keeps it: envelopes are long, and seldom looked at."""
    return {name: "(left out)" if name == "DeploymentSpecification" else value for name, value in output.items()}
