"""Who may ask what of moto, and the request that moto then gets."""

from __future__ import annotations

import re
import traceback
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

import structlog
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import run_wsgi_app

from agent.sandbox.errors import RefusedError
from agent.sandbox.wire.messages import Request, SandboxAnswer
from agent.sandbox.wire.sigv4 import Caller, Claim

_FORM = "application/x-www-form-urlencoded"
_WHO_AM_I = b"Action=GetCallerIdentity&Version=2011-06-15"
_HEADERS_OF_A_READ = frozenset(
    ("HTTP_HOST", "HTTP_AUTHORIZATION", "HTTP_RANGE", "HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH",
     "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE", "HTTP_X_AMZ_CHECKSUM_MODE")
)  # fmt: skip

_MULTIPART_ETAG = re.compile(r'"?[0-9a-f]{32}-(\d+)"?')
_VALUE = re.compile(r"x-amz-checksum-(crc32|crc32c|sha1|sha256)")
_TYPE = "x-amz-checksum-type"
_UPLOADED_IN_PARTS = "x-amz-checksum-algorithm"  # of the upload's beginning; moto copies it with the object

_log = structlog.get_logger()


class MotoGate:
    """Moto's services behind one door; the caller's signature has been checked.

    moto finds the service and the operation in the path, the query, the body and several headers, and prefers now one
    and now the other. So a host's request is not passed on: it is made anew from what was allowed, and goes to the one
    service that it is for.
    """

    def __init__(self) -> None:
        self._everything = DomainDispatcherApplication(create_backend_app)
        self._s3, self._sts = create_backend_app("s3"), create_backend_app("sts")

    def answer(self, request: Request, claim: Claim) -> SandboxAnswer:
        """Let moto answer a caller who may do everything. Raises RefusedError."""
        if _decoded(request).startswith("/moto-api"):
            raise RefusedError("AccessDeniedException", "moto's own interface is closed in the sandbox.", status=403)
        if claim.service.startswith("codedeploy"):
            raise RefusedError("UnknownOperationException", "The header x-amz-target names no operation of CodeDeploy.")
        body = request.take()
        environ = {**request.environ, "wsgi.input": body, "wsgi.input_terminated": True}
        environ["CONTENT_LENGTH"] = str(request.size)
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        try:
            application = self._everything.get_application(environ)
        except Exception as error:
            _log.debug("moto finds no service", service=claim.service, error=repr(error))
            raise _lacks(f"the service that is signed for as {claim.service}") from error
        return _run(application, environ, claim.service)

    def answer_host(self, request: Request, caller: Caller, service: str) -> SandboxAnswer:
        """Let moto answer a host, which may read S3 and ask STS who it is. Raises RefusedError."""
        if service == "s3" and request.method in ("GET", "HEAD"):
            return _run(self._s3, _bare(request), service)
        if service == "sts" and _asks_who_it_is(request):
            asked = {"CONTENT_TYPE": _FORM, "CONTENT_LENGTH": str(len(_WHO_AM_I)), "wsgi.input": BytesIO(_WHO_AM_I)}
            return _run(self._sts, _bare(request) | asked, service)
        raise RefusedError(
            "AccessDenied", f"{caller.arn} is a host, which may read S3 and ask STS who it is.", status=403
        )


def _decoded(request: Request) -> str:
    return str(request.environ["PATH_INFO"])


def _asks_who_it_is(request: Request) -> bool:
    is_form = request.headers.get("content-type", "").split(";")[0].strip().lower() == _FORM
    if request.method != "POST" or request.target != "/" or not is_form:
        return False
    asked = parse_qs(request.body().decode("utf-8", "replace"), keep_blank_values=True)
    return asked.get("Action") == ["GetCallerIdentity"]


def _bare(request: Request) -> dict[str, Any]:
    """Return the environment of the same request without a body, and with the headers of a read only."""
    kept = {
        name: value
        for name, value in request.environ.items()
        if not name.startswith(("HTTP_", "CONTENT_", "moto.")) or name in _HEADERS_OF_A_READ
    }
    return {**kept, "wsgi.input": BytesIO(), "wsgi.input_terminated": True, "CONTENT_LENGTH": "0"}


def _run(application: Any, environ: dict[str, Any], service: str) -> SandboxAnswer:  # noqa: ANN401  # a Flask application
    """Return moto's answer, or raise RefusedError that says what moto lacks or where it failed."""
    asked = f"{environ.get('HTTP_X_AMZ_TARGET') or environ['REQUEST_METHOD'] + ' ' + environ['PATH_INFO']} of {service}"
    try:
        pieces, status, headers = run_wsgi_app(application, environ, buffered=True)
    except NotImplementedError as error:
        raise _lacks(f"{asked} ({str(error) or 'not implemented'})") from error
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        _log.error("moto failed", asked=asked, error=repr(error), where=f"{last.filename}:{last.lineno}")
        raise RefusedError("InternalFailure", f"moto failed at {asked}: {error!r}.", status=500) from error
    body = b"".join(pieces)
    code, media = int(status.split()[0]), headers.get("Content-Type", "")
    # moto has an answer of its own for whatever it knows; this one is Flask's for a path that leads nowhere.
    if code in (404, 405) and media.startswith("text/html") and body.startswith(b"<!doctype html>"):
        raise _lacks(asked)
    others = [(name, value) for name, value in headers if name.lower() != "content-type"]
    return SandboxAnswer(
        code, body, content_type=media, headers=tuple(mark_composite(others) if service == "s3" else others)
    )


def _lacks(what: str) -> RefusedError:
    message = f"The sandbox answers with moto, which does not have {what}."
    return RefusedError("NotImplementedException", message, status=501)


def mark_composite(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of an S3 object with its checksum told apart from one of the whole object.

    moto keeps a checksum of the parts' checksums for a multipart upload, and answers a HEAD with it as if it were the
    object's. S3 writes the number of parts behind such a value and names its type. A copy of such an object has no
    parts, but moto lets it inherit the value, which is left out here.
    """
    found = {name.lower(): value for name, value in headers}
    multipart = _MULTIPART_ETAG.fullmatch(found.get("etag", ""))
    if found.get(_TYPE, "COMPOSITE") != "COMPOSITE" or not any(map(_VALUE.fullmatch, found)):
        return headers
    if multipart is None and _UPLOADED_IN_PARTS in found:
        return [
            (name, value) for name, value in headers if not _VALUE.fullmatch(name.lower()) and name.lower() != _TYPE
        ]
    if multipart is None:
        return headers
    marked = [
        (name, f"{value}-{multipart[1]}" if _VALUE.fullmatch(name.lower()) and "-" not in value else value)
        for name, value in headers
        if name.lower() != _TYPE
    ]
    return [*marked, (_TYPE, "COMPOSITE")]
