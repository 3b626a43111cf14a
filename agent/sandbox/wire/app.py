"""The one URL: who answers what."""

from __future__ import annotations

import http
import ipaddress
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import structlog

from agent.sandbox.engine.engine import Engine
from agent.sandbox.errors import RefusedError
from agent.sandbox.metadata import MetadataApp
from agent.sandbox.wire import json_protocol, public
from agent.sandbox.wire.command_service import SIGNING_NAMES, CommandService
from agent.sandbox.wire.control import Control
from agent.sandbox.wire.messages import Answer, Request
from agent.sandbox.wire.moto_side import MotoSide
from agent.sandbox.wire.public import PublicApi
from agent.sandbox.wire.sigv4 import Caller, claim_of, verify

_log = structlog.get_logger()


class App:
    """The WSGI application of the sandbox: CodeDeploy and metadata here, everything else by moto."""

    def __init__(
        self,
        engine: Engine,
        moto: MotoSide,
        *,
        commands: CommandService,
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
            answer = _refusal(request, error)
        if answer is None:
            return self._moto.application(environ, start_response)
        status = http.HTTPStatus(answer.status)
        headers = [("Content-Type", answer.content_type), *answer.headers]
        start_response(f"{status.value} {status.phrase}", headers)
        return [answer.body]

    def _answer(self, request: Request) -> Answer | None:
        """Give the answer to a request, or None for what is moto's."""
        if request.path.startswith("/_sandbox/"):
            return self._control.answer(request)
        prefix, _, operation = request.headers.get("x-amz-target", "").rpartition(".")
        prefix += "."
        if prefix == public.TARGET_PREFIX:
            return self._answer_public(operation, request)
        if prefix in SIGNING_NAMES:
            return self._commands.answer(operation, request, lambda: self._caller(request, SIGNING_NAMES[prefix]))
        self._let_through_to_moto(request)
        return None

    def _answer_public(self, operation: str, request: Request) -> Answer:
        caller = self._caller(request, public.SIGNING_NAME)
        if caller.instance_id or self._is_host(caller):
            raise RefusedError("AccessDeniedException", f"{caller.arn} is a host, and may not call {operation}.")
        answer = self._public.answer(operation, request)
        _log.debug("answered", operation=operation)
        return answer

    def _is_host(self, caller: Caller) -> bool:
        with self._engine.lock:
            known = self._engine.hosts.on_premises.values()
            return any(one.host_identifier == caller.arn for one in known)

    def _caller(self, request: Request, service: str) -> Caller:
        claim = claim_of(request)
        if claim.service != service:
            raise RefusedError(
                "InvalidSignatureException", f"Credential should be scoped to correct service: '{service}'."
            )
        return verify(request, claim, region=self._engine.scope.region, find=self._moto.find_key, now=self._clock())

    def _let_through_to_moto(self, request: Request) -> None:
        """Check the signature here, which moto does not do, and keep hosts from making themselves other keys."""
        if request.path.startswith("/moto-api"):
            raise RefusedError("AccessDeniedException", "moto's own interface is closed in the sandbox.", status=403)
        claim = claim_of(request)
        caller = verify(request, claim, region=self._engine.scope.region, find=self._moto.find_key, now=self._clock())
        if not (caller.instance_id or self._is_host(caller)):
            return
        if not _is_for_hosts(request, claim.service):
            raise RefusedError(
                "AccessDenied", f"{caller.arn} is a host, which may read S3 and ask STS who it is.", status=403
            )


def _is_for_hosts(request: Request, service: str) -> bool:
    """Whether a host may ask this of moto; taking on a role would make it an administrator of the sandbox."""
    if service == "s3":
        return request.method in ("GET", "HEAD")
    asked = parse_qs(request.body().decode("utf-8", "replace"))
    return service == "sts" and asked.get("Action") == ["GetCallerIdentity"]


def _is_address(host: str) -> bool:
    """Whether a Host header names no name: a web page may have a name of its own lead here and ask for keys."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _named(request: Request) -> str:
    return request.headers.get("x-amz-target") or f"{request.method} {request.path}"


def _refusal(request: Request, error: RefusedError) -> Answer:
    """Tell of a fault in the way that the caller's protocol understands."""
    if "x-amz-target" in request.headers or request.path.startswith("/_sandbox/"):
        return json_protocol.refusal(error)
    code, message = error.fault.removesuffix("Exception"), _escaped(error.message)
    inner = f"<Code>{code}</Code><Message>{message}</Message>"
    form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    text = f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>" if form else f"<Error>{inner}</Error>"
    return Answer(max(error.status, 403), text.encode(), content_type="application/xml")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
