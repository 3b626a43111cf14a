"""What S3 answers when it refuses an object, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.bundle.fetch import TransientError
from agent.deployment.spec import S3Revision
from agent.errors import BundleError

_TRANSIENT = frozenset({"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling", "503 Busy"})
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_EXPIRED = ("ExpiredToken", "TokenRefreshRequired", "RequestExpired")
_UNKNOWN_KEY = ("InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "InvalidSecurity")


def explain(
    answer: Mapping[str, Any], revision: S3Revision, *, place: str, partition: str, signed: bool
) -> BundleError:
    """Return the error for an answer as botocore has parsed it; a TransientError where it may pass."""
    status = answer["Response"].status
    code, message = (printable(answer["Error"].get(part) or "") for part in ("Code", "Message"))
    code = code or str(status)
    detail = f": {message}" if message else ""
    text = f"{place}: {code}{detail}"
    kind = TransientError if status in _TRANSIENT_STATUS or code in _TRANSIENT else BundleError
    return kind(text if text.endswith(".") else f"{text}.", remedy=_remedy(code, revision, partition, signed))


def printable(text: str) -> str:
    """Return a text that came from elsewhere fit for one line of a log."""
    return "".join(character if character.isprintable() else " " for character in text).strip()[:300]


def _remedy(code: str, revision: S3Revision, partition: str, signed: bool) -> str:
    if code.startswith("KMS."):
        return "The object is encrypted with a KMS key that is disabled, deleted or not usable by this host."
    if code in ("AccessDenied", "403", "AllAccessDisabled", "AccountProblem"):
        return _access(revision, partition, signed)
    if code in _EXPIRED:
        return "The credentials have expired: renew them, and check the clock of this host."
    if code in _UNKNOWN_KEY:
        return "The credentials are not valid (any more) for this endpoint: check the access key, its secret and token."
    if code == "RequestTimeTooSkewed":
        return "The clock of this host is wrong by more than 15 minutes: set it, for example with chrony or timesyncd."
    return _REMEDIES.get(code, "")


def _access(revision: S3Revision, partition: str, signed: bool) -> str:
    if not signed:
        return "No AWS credentials were found on this host, and the bucket is not public: give it some."
    action = "s3:GetObjectVersion" if revision.version else "s3:GetObject"
    bucket = revision.bucket
    resource = f"{bucket}/object" if bucket.startswith("arn:") else f"arn:{partition}:s3:::{bucket}"
    return (
        f"The host's role or user needs {action} on {resource}/{revision.key}"
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
