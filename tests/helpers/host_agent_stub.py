"""A scripted agent that speaks the command service over the wire, signed with botocore."""

from __future__ import annotations

import base64
import configparser
import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SUCCESS = {"error_code": 0, "script_name": "", "message": "Succeeded: ", "log": ""}
PREFIX = "CodeDeployCommandService_v20141006"


class Reply(NamedTuple):
    """An answer of the service."""

    status: int
    body: dict[str, Any]

    @property
    def fault(self) -> str:
        """The exception's name, or nothing."""
        return str(self.body.get("__type", ""))


class HostAgentStub:
    """One host: polls, and answers each command as ``script`` says."""

    def __init__(self, url: str, region: str, host_identifier: str, credentials: Credentials) -> None:
        self.url = url
        self.region = region
        self.host_identifier = host_identifier
        self.credentials = credentials
        self.version = "2.1.0"
        self.commands: list[str] = []
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: http.client.HTTPConnection | None = None

    @classmethod
    def from_on_premises(cls, url: str, path: Path) -> HostAgentStub:
        """Make the host of a codedeploy.onpremises.yml."""
        values = yaml.safe_load(path.read_text())
        if "iam_user_arn" in values:
            key = Credentials(values["aws_access_key_id"], values["aws_secret_access_key"])
            return cls(url, values["region"], values["iam_user_arn"], key)
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(values["aws_credentials_file"])
        found = parser["default"]
        key = Credentials(found["aws_access_key_id"], found["aws_secret_access_key"], found["aws_session_token"])
        return cls(url, values["region"], values["iam_session_arn"], key)

    # -- the five operations

    def poll(self) -> dict[str, Any] | None:
        """Ask for a command."""
        reply = self.call("PollHostCommand", {"HostIdentifier": self.host_identifier})
        assert reply.status == 200, reply
        return reply.body.get("HostCommand")

    def specification(self, command: Mapping[str, Any]) -> Reply:
        """Ask for what is to be deployed."""
        members = {
            "DeploymentExecutionId": command["DeploymentExecutionId"],
            "HostIdentifier": self.host_identifier,
        }
        return self.call("GetDeploymentSpecification", members)

    def acknowledge(self, command: Mapping[str, Any], *, noop: bool = False) -> Reply:
        """Take a command up."""
        members = {
            "HostCommandIdentifier": command["HostCommandIdentifier"],
            "Diagnostics": _json({"IsCommandNoop": noop}),
        }
        return self.call("PutHostCommandAcknowledgement", members)

    def complete(self, command: Mapping[str, Any], payload: Mapping[str, Any] = SUCCESS) -> Reply:
        """Report the end of a command."""
        members = {
            "HostCommandIdentifier": command["HostCommandIdentifier"],
            "CommandStatus": "Failed" if payload["error_code"] else "Succeeded",
            "Diagnostics": _json(payload),
        }
        return self.call("PutHostCommandComplete", members)

    # -- a whole agent

    def work(self, script: Callable[[str], Mapping[str, Any] | None] = lambda name: SUCCESS) -> HostAgentStub:
        """Answer commands in a thread until ``stop``; ``script`` gives a result's payload, None for a no-op."""
        self._thread = threading.Thread(target=self._work, args=(script,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop polling."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self, script: Callable[[str], Mapping[str, Any] | None]) -> None:
        while not self._over.is_set():
            command = self.poll()
            if command is None:
                continue
            assert self.specification(command).status == 200
            name = command["CommandName"]
            self.commands.append(name)
            payload = script(name)
            reply = self.acknowledge(command, noop=payload is None)
            if reply.body.get("CommandStatus") not in ("Succeeded", "Failed"):
                self.complete(command, payload or SUCCESS)

    # -- the wire

    def call(self, operation: str, members: Mapping[str, Any], **changes: Any) -> Reply:
        """Make a call; ``changes`` are those of ``signed_headers``."""
        body = json.dumps(members).encode()
        headers = self.signed_headers(operation, body, **changes)
        return self.send(changes.get("sent_body", body), headers)

    def signed_headers(
        self,
        operation: str,
        body: bytes,
        *,
        service: str = "codedeploy-commands",
        prefix: str = PREFIX,
        clock: float = 0.0,
        headers: Mapping[str, str | None] | None = None,
        **_others: Any,
    ) -> dict[str, str]:
        """Sign a call; ``clock`` moves its time by seconds, ``headers`` replaces some or, with None, removes them."""
        given = {
            "Host": urlsplit(self.url).netloc,
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"{prefix}.{operation}",
            "x-amz-codedeploy-agent-version": self.version,
            **(headers or {}),
        }
        request = AWSRequest("POST", f"{self.url}/", {name: value for name, value in given.items() if value}, body)
        signer = SigV4Auth(self.credentials, service, self.region)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + clock))
        request.context["timestamp"] = stamp
        request.headers["X-Amz-Date"] = stamp
        if self.credentials.token:
            request.headers["X-Amz-Security-Token"] = self.credentials.token
        text = signer.string_to_sign(request, signer.canonical_request(request))
        signer._inject_signature_to_request(request, signer.signature(text, request))
        return dict(request.headers.items())

    def send(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send what was signed, or something else."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc)
        try:
            connection.request("POST", "/", body, dict(headers))
            answer = connection.getresponse()
            return Reply(answer.status, json.loads(answer.read() or b"{}"))
        finally:
            connection.close()


def reuse_archive_of(reply: Reply) -> str | None:
    """Give the ReuseArchiveFromDeploymentId in a sealed specification, whose text is readable in its signature."""
    return document_of(reply).get("ReuseArchiveFromDeploymentId")


def document_of(reply: Reply) -> dict[str, Any]:
    """Give the specification in an envelope, without any check of its signature."""
    from asn1crypto import cms

    pem = reply.body["DeploymentSpecification"]["GenericEnvelope"]["Payload"]
    lines = [line for line in pem.splitlines() if line and not line.startswith("-----")]
    content = cms.ContentInfo.load(base64.b64decode("".join(lines)))["content"]["encap_content_info"]["content"]
    found: dict[str, Any] = json.loads(content.native)
    return found


def _json(payload: Mapping[str, Any]) -> dict[str, str]:
    return {"Format": "JSON", "Payload": json.dumps(payload)}
