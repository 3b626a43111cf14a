"""Where an object in S3 is asked for: host, path and query."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, urlsplit

# Regions by how their names begin, each with the domain of its partition (botocore's partitions.json).
_DOMAINS = (
    ("cn-", "amazonaws.com.cn", "aws-cn"),
    ("us-gov-", "amazonaws.com", "aws-us-gov"),
    ("eusc-", "amazonaws.eu", "aws-eusc"),
    ("us-isob-", "sc2s.sgov.gov", "aws-iso-b"),
    ("us-isof-", "csp.hci.ic.gov", "aws-iso-f"),
    ("eu-isoe-", "cloud.adc-e.uk", "aws-iso-e"),
    ("us-iso-", "c2s.ic.gov", "aws-iso"),
)
_USUAL = ("", "amazonaws.com", "aws")

# A name that can be a part of a host name and is covered by S3's certificate, which allows no further dot.
_HOST_PART = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")

REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


class Address(NamedTuple):
    """How S3 is reached: by the region's own host, or by ``endpoint``."""

    region: str
    domain: str = ""
    endpoint: str | None = None
    fips: bool = False

    def url(self, bucket: str, key: str, version: str | None) -> str:
        """The URL of an object, percent-encoded as it is signed.

        The bucket is named in the host (virtual-hosted style), except for endpoints that are given and for names
        that cannot be part of a host: there it begins the path.
        """
        encoding = {"encoding": "utf-8", "errors": "surrogateescape"}
        path = quote(key, safe="-_.~/", **encoding)
        query = f"?versionId={quote(version, safe='-_.~', **encoding)}" if version else ""
        named = quote(bucket, safe="-_.~", **encoding)
        if self.endpoint:
            return f"{self.endpoint.rstrip('/')}/{named}/{path}{query}"
        host = f"s3{'-fips' if self.fips else ''}.{self.region}.{self.domain or domain_of(self.region)}"
        if _HOST_PART.fullmatch(bucket):
            return f"https://{bucket}.{host}/{path}{query}"
        return f"https://{host}/{named}/{path}{query}"

    def may_lead_to(self, url: str) -> bool:
        """Whether S3 may send a request on to this URL: within its domain, or from this host to this host."""
        parts = urlsplit(url)
        own = urlsplit(self.endpoint or f"https://s3.{self.domain or domain_of(self.region)}")
        if parts.scheme != own.scheme or not parts.hostname or parts.username is not None:
            return False
        if self.endpoint:
            return parts.hostname == own.hostname
        return parts.hostname.endswith(f".{self.domain or domain_of(self.region)}")


def domain_of(region: str) -> str:
    """The domain of the services of a region."""
    return next((row[1] for row in _DOMAINS if region.startswith(row[0])), _USUAL[1])


def partition_of(region: str) -> str:
    """The partition of a region, as ARNs begin with it."""
    return next((row[2] for row in _DOMAINS if region.startswith(row[0])), _USUAL[2])
