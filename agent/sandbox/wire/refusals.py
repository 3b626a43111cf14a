"""Says what went wrong in the protocol that the caller's SDK reads."""

from __future__ import annotations

from xml.sax.saxutils import escape

from agent.sandbox.errors import RefusedError
from agent.sandbox.wire import json_protocol
from agent.sandbox.wire.messages import Answer, Request
from agent.sandbox.wire.sigv4 import claim_of

_REST_XML = frozenset({"s3", "route53", "cloudfront", ""})


def refusal(request: Request, error: RefusedError) -> Answer:
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
    return Answer(max(error.status, 403), text.encode(), content_type="application/xml")


def _service(request: Request) -> str:
    try:
        return claim_of(request).service
    except RefusedError:
        return ""
