"""Checks Signature Version 4 as the services do, with botocore's own arithmetic."""

from __future__ import annotations

import hmac
import re
import time
from calendar import timegm
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.compat import HTTPHeaders  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from agent.sandbox.errors import RefusedError
from agent.sandbox.wire.messages import Request

TOLERANCE = 300
"""Seconds that a request's time may differ from the service's."""

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=([\w+=,.@-]+)/(\d{8})/([\w-]+)/([\w-]+)/aws4_request *, *"
    r"SignedHeaders=([a-z0-9;-]+) *, *Signature=([0-9a-f]{64})"
)
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Caller(NamedTuple):
    """Who signed a request; ``session`` is the name of an assumed role's session."""

    access_key: str
    arn: str
    session: str = ""

    @property
    def instance_id(self) -> str:
        """Return the instance whose role this is, or nothing."""
        return self.session if re.fullmatch(r"i-[0-9a-f]{8,17}", self.session) else ""


class AccountKey(NamedTuple):
    """An access key as the account knows it; session keys have a token and end at a time."""

    secret: str
    caller: Caller
    token: str | None = None
    expires: float | None = None

    def __repr__(self) -> str:
        """Show whose key it is, and no secret."""
        return f"AccountKey(caller={self.caller!r})"


class Claim(NamedTuple):
    """What the Authorization header says."""

    access_key: str
    date: str
    region: str
    service: str
    signed: tuple[str, ...]
    signature: str


def claim_of(request: Request) -> Claim:
    """Read the Authorization header; RefusedError if it is missing or unreadable."""
    header = request.headers.get("authorization", "")
    if not header:
        raise RefusedError("MissingAuthenticationTokenException", "Missing Authentication Token")
    found = _AUTHORIZATION.fullmatch(header.strip())
    if not found:
        raise RefusedError("IncompleteSignatureException", "The Authorization header is not a Signature Version 4.")
    access_key, date, region, service, signed, signature = found.groups()
    return Claim(access_key, date, region, service, tuple(signed.split(";")), signature)


def verify(
    request: Request, claim: Claim, *, region: str, find: Callable[[str], AccountKey | None], now: float
) -> Caller:
    """Return the caller whose signature it is; ``find`` looks up an access key. Raises RefusedError.

    In the order of the services: scope and signed headers, time, key, token, signature.
    """
    _check_scope(request, claim, region)
    stamp = request.headers.get("x-amz-date", "")
    _check_time(stamp, claim, now)
    key = find(claim.access_key)
    if key is None:
        raise RefusedError("UnrecognizedClientException", "The security token included in the request is invalid.")
    if key.token is not None:
        if not hmac.compare_digest(key.token.encode(), request.headers.get("x-amz-security-token", "").encode()):
            raise RefusedError("UnrecognizedClientException", "The security token included in the request is invalid.")
        if key.expires is not None and now >= key.expires:
            raise RefusedError("ExpiredTokenException", "The security token included in the request is expired")
    expected = _signature(request, claim, key, stamp)
    if not hmac.compare_digest(expected, claim.signature):
        raise RefusedError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided.",
        )
    return key.caller


def _check_scope(request: Request, claim: Claim, region: str) -> None:
    # Of the others, IAM's clients always name one region and S3's follow a bucket through regions.
    if claim.service.startswith("codedeploy") and claim.region != region:
        raise RefusedError(
            "InvalidSignatureException", f"Credential should be scoped to a valid region, not '{claim.region}'."
        )
    needed = {"host", *(name for name in request.headers if name.startswith("x-amz-"))}
    unsigned = sorted(needed.difference(claim.signed))
    if unsigned:
        raise RefusedError("InvalidSignatureException", f"These headers must be signed: {', '.join(unsigned)}.")


def _check_time(stamp: str, claim: Claim, now: float) -> None:
    try:
        at = timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise RefusedError("IncompleteSignatureException", "The x-amz-date header has no valid time.") from None
    ours = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    if stamp[:8] != claim.date:
        raise RefusedError("InvalidSignatureException", "Date in Credential scope does not match x-amz-date.")
    if at < now - TOLERANCE:
        raise RefusedError(
            "InvalidSignatureException", f"Signature expired: {stamp} is now earlier than {ours} - 5 min."
        )
    if at > now + TOLERANCE:
        raise RefusedError(
            "InvalidSignatureException", f"Signature not yet current: {stamp} is still later than {ours} + 5 min."
        )


def _signature(request: Request, claim: Claim, key: AccountKey, stamp: str) -> str:
    # The host that counts is the signed header's; that may be missing, or no host.
    rebuilt = AWSRequest(method=request.method, url=f"http://host{request.target}")
    rebuilt.headers = HTTPHeaders()
    for name in claim.signed:
        rebuilt.headers[name] = request.headers.get(name, "")
    rebuilt.context["timestamp"] = stamp
    flavour = _S3Arithmetic if claim.service == "s3" else _Arithmetic
    arithmetic = flavour(Credentials(claim.access_key, key.secret), claim.service, claim.region)
    arithmetic.digest = _payload_digest(request, claim.service)
    canonical = arithmetic.canonical_request(rebuilt)
    return str(arithmetic.signature(arithmetic.string_to_sign(rebuilt, canonical), rebuilt))


def _payload_digest(request: Request, service: str) -> str:
    """Return the digest that was signed.

    A declared one is believed for the signature, and compared with the body when that is read. So without a key
    no caller makes the sandbox read a large body.
    """
    declared = request.headers.get("x-amz-content-sha256", "")
    if _DIGEST.fullmatch(declared):
        request.expect(declared)
        return declared
    if service == "s3" and declared:
        return declared  # UNSIGNED-PAYLOAD and the like: S3's clients may choose so
    return request.digest()


class _Arithmetic(SigV4Auth):  # type: ignore[misc]
    """botocore's signer, over the headers that were signed and a digest that is known."""

    digest = ""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        return request.headers

    def payload(self, request: AWSRequest) -> str:
        return self.digest

    def canonical_request(self, request: AWSRequest) -> str:
        parts = [
            request.method.upper(),
            self._normalize_url_path(urlsplit(request.url).path),
            self.canonical_query_string(request),
            self.canonical_headers(request.headers) + "\n",
            self.signed_headers(request.headers),
            self.digest,
        ]
        return "\n".join(parts)


class _S3Arithmetic(_Arithmetic, S3SigV4Auth):  # type: ignore[misc]
    """The same for S3, whose paths are taken as they are."""

    def _normalize_url_path(self, path: str) -> str:
        return path
