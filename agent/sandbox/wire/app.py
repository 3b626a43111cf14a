"""The one URL: who answers what."""

from __future__ import annotations

import http
import ipaddress
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import structlog

from agent.sandbox.engine.engine import Engine
from agent.sandbox.errors import RefusedError
from agent.sandbox.metadata import MetadataApp
from agent.sandbox.wire import json_protocol, public
from agent.sandbox.wire.command_service import SIGNING_NAMES, CommandServiceApi
from agent.sandbox.wire.control import Control
from agent.sandbox.wire.messages import Request, SandboxAnswer
from agent.sandbox.wire.moto_gate import MotoGate
from agent.sandbox.wire.moto_side import MotoSide
from agent.sandbox.wire.public import PublicApi
from agent.sandbox.wire.sigv4 import Caller, claim_of, verify

_REST_XML = frozenset({"s3", "route53", "cloudfront", ""})

_log = structlog.get_logger()


class App:
    """The WSGI application of the sandbox: CodeDeploy and metadata here, everything else by moto."""

    def __init__(
        self,
        engine: Engine,
        moto: MotoSide,
        *,
        commands: CommandServiceApi,
        control: Control,
        metadata: MetadataApp,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._moto = moto
        self._commands = commands
        self._control = control
        self._metadata = metadata
        self._clock = clock
        self._public = PublicApi(engine)
        self._gate = MotoGate()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        # Nobody signs a question for metadata; a signed one is for a bucket with such a name.
        if MetadataApp.answers(request.path) and "authorization" not in request.headers:
            if not _is_address(request.headers.get("host", "")):
                start_response("403 Forbidden", [("Content-Length", "0")])
                return []
            return self._metadata(environ, start_response)
        try:
            answer = self._answer(request)
        except RefusedError as error:
            _log.info("refused", fault=error.fault, reason=error.message, target=_named(request))
            answer = refusal(request, error)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  # an answer that says so is worth more than a closed connection
            _log.exception("failed", target=_named(request))
            text = f"The sandbox failed; its log says where: {error!r}."
            answer = refusal(request, RefusedError("InternalFailure", text, status=500))
        status = http.HTTPStatus(answer.status)
        headers = [("Content-Type", answer.content_type)] if answer.content_type else []
        start_response(f"{status.value} {status.phrase}", [*headers, *answer.headers])
        return [answer.body]

    def _answer(self, request: Request) -> SandboxAnswer:
        if not request.target.startswith("/") or request.target.startswith("//"):
            raise RefusedError("InvalidURI", "The target of a request begins with one slash.")
        if request.path.startswith("/_sandbox/"):
            return self._control.answer(request)
        prefix, _, operation = request.headers.get("x-amz-target", "").rpartition(".")
        prefix += "."
        if prefix == public.TARGET_PREFIX:
            return self._answer_public(operation, request)
        if prefix in SIGNING_NAMES:
            return self._commands.answer(operation, request, lambda: self._caller(request, SIGNING_NAMES[prefix]))
        return self._answer_by_moto(request)

    def _answer_public(self, operation: str, request: Request) -> SandboxAnswer:
        caller = self._caller(request, public.SIGNING_NAME)
        if self._is_host(caller):
            raise RefusedError("AccessDeniedException", f"{caller.arn} is a host, and may not call {operation}.")
        answer = self._public.answer(operation, request)
        _log.debug("answered", operation=operation)
        return answer

    def _is_host(self, caller: Caller) -> bool:
        return bool(caller.instance_id) or self._engine.hosts.was_registered(caller.arn)

    def _caller(self, request: Request, service: str) -> Caller:
        claim = claim_of(request)
        if claim.service != service:
            raise RefusedError(
                "InvalidSignatureException", f"Credential should be scoped to correct service: '{service}'."
            )
        return verify(request, claim, region=self._engine.scope.region, find=self._moto.find_key, now=self._clock())

    def _answer_by_moto(self, request: Request) -> SandboxAnswer:
        """Check the signature here, which moto does not do, and keep hosts from making themselves other keys."""
        claim = claim_of(request)
        caller = verify(request, claim, region=self._engine.scope.region, find=self._moto.find_key, now=self._clock())
        if self._is_host(caller):
            return self._gate.answer_host(request, caller, claim.service)
        if claim.service == "cloudformation":
            # Takes half a second, which a start of the sandbox can do without.
            from agent.sandbox.wire.cloudformation import serve_stacks

            serve_stacks(self._public, self._engine.scope.region)
        return self._gate.answer(request, claim)


def _is_address(host: str) -> bool:
    """Whether a Host header names no name: a web page may have a name of its own lead here and ask for keys."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _named(request: Request) -> str:
    return request.headers.get("x-amz-target") or f"{request.method} {request.path}"


def refusal(request: Request, error: RefusedError) -> SandboxAnswer:
    """Return the answer that reports a fault: JSON, or XML of the kind that the called service uses."""
    service = _service(request)
    form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    is_own = "x-amz-target" in request.headers or request.path.startswith("/_sandbox/")
    if is_own or not (form or service in _REST_XML):
        return json_protocol.refusal(error)
    code, message = error.fault.removesuffix("Exception"), escape(error.message)
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    if form and service == "ec2":
        text = f"<Response><Errors>{text}</Errors></Response>"
    elif form:
        text = f"<ErrorResponse>{text}</ErrorResponse>"
    return SandboxAnswer(max(error.status, 403), text.encode(), content_type="application/xml")


def _service(request: Request) -> str:
    try:
        return claim_of(request).service
    except RefusedError:
        return ""
