"""AWS Signature Version 4 for requests that are sent without a botocore client."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]

from agent.network.credentials import Credentials


def sign(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes,
    credentials: Credentials,
    service: str,
    region: str,
) -> dict[str, str]:
    """Return all headers to send: those given, the date, the token if there is one, the body's digest, the signature.

    ``service`` is the signing name. The path and the query of ``url`` must be percent-encoded as they will be sent.
    Every header that is given is signed but User-Agent.
    """
    request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    # The official agent signs the digest as a header for every service; botocore would add it for S3 alone.
    request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
    SigV4Auth(credentials, service, region).add_auth(request)
    return {str(name): str(value) for name, value in request.headers.items()}
