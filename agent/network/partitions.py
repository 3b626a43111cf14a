"""The regions and partitions of AWS, by the domains under which their services are reached."""

from __future__ import annotations

import re

_REGION = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
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


def is_region(text: str) -> bool:
    """Return whether a text can be the name of a region, also of one that does not exist yet."""
    return _REGION.fullmatch(text) is not None


def domain_of(region: str) -> str:
    """Return the domain under which a region's services are reached."""
    return next((domain for start, domain in _BY_REGION if region.startswith(start)), _USUAL)
