"""The partitions of AWS, by the domains under which their services are reached."""

from __future__ import annotations

_USUAL = "amazonaws.com"

# By how the names of regions begin; a test compares it with botocore's partitions.
_BY_REGION = (
    ("cn-", "amazonaws.com.cn"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("eusc-", "amazonaws.eu"),
)

DOMAINS = frozenset({_USUAL, *(domain for _, domain in _BY_REGION)})


def domain_of(region: str) -> str:
    """Return the domain under which a region's services are reached."""
    return next((domain for start, domain in _BY_REGION if region.startswith(start)), _USUAL)
