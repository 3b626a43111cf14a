"""What regions, partitions, accounts and instance ids look like.

They come from files, the environment and the network, and end in host names and log lines. So the rules keep out what
could do harm there, and let through the names of regions and partitions that do not exist yet.
"""

from __future__ import annotations

import re

from agent.network.partitions import is_region

_ZONE = re.compile(r"[a-z]+(-[a-z]+)+-[0-9]+[a-z]")
_USUAL_REGION = re.compile(r"[a-z]+(-[a-z]+)+-[0-9]+")
_PARTITION = re.compile(r"aws(-[a-z]{1,16}){0,3}")
_ACCOUNT = re.compile(r"[0-9]{12}")
_INSTANCE = re.compile(r"[a-z]{1,4}-[0-9A-Za-z]{1,40}")
_HOST_IDENTIFIER = re.compile(r"[!-~]{1,512}")
_KEY = re.compile(r"[!-~]{1,16384}")
_ARN = re.compile(r"arn:[a-z0-9-]+:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:[!-~]+")


def region_fault(text: str) -> str:
    """Say why a text cannot be a region; empty where it can be."""
    if _ZONE.fullmatch(text):
        return f"is an availability zone; its region is {text[:-1]}"
    if not is_region(text):
        return "is not the name of a region, such as eu-west-1"
    return ""


def is_usual_region(text: str) -> bool:
    """Tell whether a text has the form that all regions of AWS have so far."""
    return _USUAL_REGION.fullmatch(text) is not None


def is_partition(text: str) -> bool:
    """Tell whether a text can be a partition, such as aws or aws-cn."""
    return _PARTITION.fullmatch(text) is not None


def is_account(text: str) -> bool:
    """Tell whether a text is the number of an account: twelve digits."""
    return _ACCOUNT.fullmatch(text) is not None


def is_instance_id(text: str) -> bool:
    """Tell whether a text can be the id of an instance, such as i-0abcdef1234567890."""
    return _INSTANCE.fullmatch(text) is not None


def is_host_identifier(text: str) -> bool:
    """Tell whether a text can be sent as a host identifier: printable, without spaces, at most 512 characters."""
    return _HOST_IDENTIFIER.fullmatch(text) is not None


def is_arn(text: str) -> bool:
    """Tell whether a text has the parts of an Amazon Resource Name."""
    return len(text) <= 512 and _ARN.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Tell whether a text can be a key, a secret or a token: printable, without spaces, at most 16,384 characters."""
    return _KEY.fullmatch(text) is not None
