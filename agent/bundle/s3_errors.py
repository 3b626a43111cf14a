"""What S3 answers when it does not give an object, and what to do about it."""

from __future__ import annotations

import re
from typing import NamedTuple

from agent.bundle.s3_address import REGION, partition_of
from agent.deployment.spec import S3Revision
from agent.errors import BundleError
from agent.network.errors import NetworkError
from agent.network.http import Response

LONGEST = 64 * 1024

_REGION_CODES = frozenset(
    {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "301", "400"}
)
_TRANSIENT = frozenset({"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling", "503 Busy"})
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_EXPIRED = ("ExpiredToken", "TokenRefreshRequired", "RequestExpired")
_UNKNOWN_KEY = ("InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "InvalidSecurity")

_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&"))


class Fault(NamedTuple):
    """An error as S3 gives it; ``code`` is the status where no document came with it, ``region`` may be empty."""

    status: int
    code: str
    message: str
    region: str

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.status in _TRANSIENT_STATUS or self.code in _TRANSIENT

    @property
    def other_region(self) -> str:
        """The region to ask instead; empty where that is not what is wrong."""
        return self.region if self.code in _REGION_CODES and REGION.fullmatch(self.region) else ""


def read_fault(response: Response) -> Fault:
    """Read an error and close the answer; whatever came in place of a document, something useful comes out."""
    region = response.headers.get("x-amz-bucket-region", "")
    try:
        with response:
            text = response.read(LONGEST).decode("utf-8", "replace")
    except NetworkError:
        text = ""
    return Fault(
        response.status,
        _element(text, "Code") or str(response.status),
        _element(text, "Message"),
        region or _element(text, "Region"),
    )


def _element(text: str, name: str) -> str:
    # Not with an XML parser: the few elements are plain text, and so nothing in the answer can make it expand.
    found = re.search(rf"<{name}>([^<]{{0,2000}})</{name}>", text)
    value = found[1] if found else ""
    for entity, character in _ENTITIES:
        value = value.replace(entity, character)
    return "".join(character if character.isprintable() else " " for character in value).strip()[:300]


def explain(fault: Fault, revision: S3Revision, *, name: str, region: str, signed: bool) -> BundleError:
    """Say what is wrong and what to do."""
    detail = f": {fault.message}" if fault.message else ""
    text = f"S3 in {region} does not give {name}: {fault.code}{detail}"
    return BundleError(text if text.endswith(".") else f"{text}.", remedy=_remedy(fault, revision, region, signed))


def _remedy(fault: Fault, revision: S3Revision, region: str, signed: bool) -> str:
    code = fault.code
    if code.startswith("KMS."):
        return "The object is encrypted with a KMS key that is disabled, deleted or not usable by this host."
    if code in ("AccessDenied", "403", "AllAccessDisabled", "AccountProblem"):
        return _access(revision, region, signed)
    if code in _EXPIRED:
        return "The credentials have expired: renew them, and check the clock of this host."
    if code in _UNKNOWN_KEY:
        return "The credentials are not valid (any more) for this endpoint: check the access key, its secret and token."
    if code == "RequestTimeTooSkewed":
        return "The clock of this host is wrong by more than 15 minutes: set it, for example with chrony or timesyncd."
    return _REMEDIES.get(code, "")


def _access(revision: S3Revision, region: str, signed: bool) -> str:
    if not signed:
        return "No AWS credentials were found on this host, and the bucket is not public: give it some."
    action = "s3:GetObjectVersion" if revision.version else "s3:GetObject"
    return (
        f"The host's role or user needs {action} on arn:{partition_of(region)}:s3:::{revision.bucket}/{revision.key}"
        " (allowed by its policy, and not denied by the bucket's), and kms:Decrypt where the object is encrypted with"
        " a KMS key. Without s3:ListBucket an object that does not exist is answered in the same way."
    )


_REMEDIES = {
    "NoSuchKey": "Check the key's spelling, and that the revision was uploaded and not removed by a lifecycle rule.",
    "NoSuchBucket": "Check the bucket's name, and that the partition (aws, aws-cn, aws-us-gov) is the right one.",
    "NoSuchVersion": "Register the revision again: the version that it names is gone or is another object's.",
    "MethodNotAllowed": "The version that is named marks the object as deleted: name an earlier one.",
    "InvalidObjectState": "The object lies in an archive storage class: restore it, or upload the revision again.",
    "PermanentRedirect": "The bucket lies in another region, and S3 does not say which: check the region.",
    "404": "Check bucket and key, and whether the endpoint is S3.",
}
