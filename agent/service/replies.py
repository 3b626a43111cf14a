"""Answers of the service that are not a success: what kind of error each is, and what an operator can do."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from agent.service.errors import ProtocolError, ServiceError, ServiceErrorKind

THROTTLING = frozenset(
    [
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "SlowDown",
        "BandwidthLimitExceeded",
    ]
)
CREDENTIALS = frozenset(
    [
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "ExpiredToken",
        "ExpiredTokenException",
        "TokenRefreshRequired",
        "AuthFailure",
        "NotAuthorized",
    ]
)
PERMISSIONS = frozenset(["AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "OptInRequired"])
CLOCK = frozenset(["RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture"])
CLOCK_TEXTS = ("signature expired", "signature not yet current")

LARGEST_SKEW = 300
"""Seconds by which a clock may be wrong before signatures are refused, by the documentation of SigV4."""

LONGEST_TEXT = 500
"""Characters of the service's own text that are repeated."""


def error_for(
    operation: str, status: int, headers: Mapping[str, str], body: bytes, *, now: float | None = None
) -> ServiceError:
    """Make the error of an answer whose status is not 200; ``now`` is in seconds since the epoch."""
    if status < 400:
        return _redirect(operation, status, headers)
    code, text = _code_and_text(headers, body)
    skew = clock_skew(headers, time.time() if now is None else now)
    kind = _kind(status, code, text, skew)
    said = " ".join(part for part in (code, f"({text})" if text and code else text) if part)
    message = f"The command service answered {operation} with status {status}" + (f": {said}" if said else "")
    message += "" if message.endswith(".") else "."
    if kind is ServiceErrorKind.CLOCK and skew is not None and abs(skew) >= 1:
        message += f" The clock of this host is {_duration(abs(skew))} {'ahead' if skew > 0 else 'behind'}."
    remedy = _remedy(kind, code, status)
    return ServiceError(message, kind=kind, service_code=code, service_message=text, status=status, remedy=remedy)


def _redirect(operation: str, status: int, headers: Mapping[str, str]) -> ProtocolError:
    place = _clean(headers.get("Location", "")).partition("?")[0]
    return ProtocolError(
        f"{operation} was answered with status {status}" + (f", a redirection to {place}." if place else "."),
        status=status,
        remedy="The command service never redirects: a proxy or a portal answers in its place.",
    )


def _code_and_text(headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    members = value if isinstance(value, dict) else {}
    named = headers.get("x-amzn-errortype") or _text(members, "__type", "code", "Code")
    code = named.partition(":")[0].rpartition("#")[2].strip()
    text = _clean(_text(members, "message", "Message", "errorMessage"))
    return _clean(code)[:100], text or _foreign(headers, body, known=value is not None)


def _text(members: Mapping[str, object], *names: str) -> str:
    found = (members.get(name) for name in names)
    return next((value for value in found if isinstance(value, str) and value), "")


def _foreign(headers: Mapping[str, str], body: bytes, *, known: bool) -> str:
    if known or not body.strip():
        return ""
    return f"a page of type {_clean(headers.get('Content-Type', '')) or 'unknown'}, not the service's own answer"


def _clean(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text[: LONGEST_TEXT * 2]).split())[:LONGEST_TEXT]


def _kind(status: int, code: str, text: str, skew: float | None) -> ServiceErrorKind:
    lower = text.lower()
    if status == 429 or code in THROTTLING or "rate exceeded" in lower:
        return ServiceErrorKind.THROTTLED
    if code in CLOCK or any(words in lower for words in CLOCK_TEXTS):
        return ServiceErrorKind.CLOCK
    if code in CREDENTIALS or code in PERMISSIONS:
        wrong = skew is not None and abs(skew) > LARGEST_SKEW and code not in PERMISSIONS
        return ServiceErrorKind.CLOCK if wrong else ServiceErrorKind.CREDENTIALS
    return ServiceErrorKind.SERVER if status >= 500 else ServiceErrorKind.CLIENT


def clock_skew(headers: Mapping[str, str], now: float) -> float | None:
    """Return by how many seconds this host's clock is ahead of the Date header, None if there is no usable one."""
    from email.utils import parsedate_to_datetime

    try:
        return now - parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if count]
    return " ".join(parts[:2])


REMEDIES = {
    ServiceErrorKind.THROTTLED: "It is sent again more slowly; nothing needs to be done unless this goes on.",
    ServiceErrorKind.CLOCK: "Set the clock, and keep it right with chrony or systemd-timesyncd.",
    ServiceErrorKind.SERVER: "It is tried again; if it goes on, look at the health of CodeDeploy in this region.",
}


def _remedy(kind: ServiceErrorKind, code: str, status: int) -> str:
    if code in PERMISSIONS:
        return (
            "Attach a policy that allows this host's role or user the command: codedeploy-commands-secure:* actions"
            " where enable_auth_policy is true, and no permission boundary or VPC endpoint policy that denies it."
        )
    if code.startswith("ExpiredToken"):
        return "Check what renews the credentials: the instance's role, or the program that writes the session file."
    if kind is ServiceErrorKind.CREDENTIALS:
        return "Check the access key in the on-premises file or the instance's role, and that the region is right."
    if kind is ServiceErrorKind.CLIENT:
        if not code:
            return "Check deploy_control_endpoint, and whether a proxy answers in the place of the service."
        return "Check that this host is registered in this region and account, and that the endpoint is right."
    return REMEDIES.get(kind, f"The status is {status}.")
