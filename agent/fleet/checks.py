"""What the service demands of names, tags and ARNs of on-premises instances, checked before it is asked.

The limits are those of the AWS command line and the API's documentation; ARNs may be of any partition.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from agent.fleet.errors import RegistrationUsageError

_NAME = re.compile(r"[A-Za-z0-9+=,.@_-]{1,100}")
_USER = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:user/[A-Za-z0-9/+=,.@_-]+")
_SESSION = re.compile(r"arn:aws[a-z-]*:sts::[0-9]{12}:assumed-role/[A-Za-z0-9+=,.@_-]+/[A-Za-z0-9+=,.@_-]+")
IAM_PATH = "/AWS/CodeDeploy/"
"""Where ``aws deploy register`` makes its users, and ours: by it they are known when the instance is deregistered."""
MOST_TAGS = 10
LONGEST_KEY = 128
LONGEST_VALUE = 256


class Tag(NamedTuple):
    """A tag of an on-premises instance."""

    key: str
    value: str

    def as_shape(self) -> dict[str, str]:
        """The tag as the API wants it."""
        return {"Key": self.key, "Value": self.value}


def check_instance_name(name: str) -> str:
    """Return a name that the service takes. Raises RegistrationUsageError."""
    if not _NAME.fullmatch(name) or name.startswith("i-"):
        raise RegistrationUsageError(
            f"The instance name {name!r} cannot be.",
            remedy='Use 1 to 100 letters, digits and + = , . @ _ -, not beginning with "i-".',
        )
    return name


def parse_tags(texts: Sequence[str]) -> tuple[Tag, ...]:
    """Read tags: ``KEY=VALUE``, or ``Key=K,Value=V`` as for the AWS command line. Raises RegistrationUsageError."""
    tags = tuple(_parse_tag(text) for text in texts)
    if len(tags) > MOST_TAGS:
        raise RegistrationUsageError(f"{len(tags)} tags are given, and an instance may have {MOST_TAGS}.")
    return tags


def _parse_tag(text: str) -> Tag:
    long = re.fullmatch(r"Key=([^,]*),Value=(.*)", text, re.DOTALL)
    key, equals, value = (long[1], "=", long[2]) if long else text.partition("=")
    if not key or not equals:
        raise RegistrationUsageError(f"The tag {text!r} has no key or no value.", remedy="Write --tag KEY=VALUE.")
    if len(key) > LONGEST_KEY or len(value) > LONGEST_VALUE:
        raise RegistrationUsageError(
            f"The tag {key[:40]!r} is too long: {LONGEST_KEY} characters for the key and {LONGEST_VALUE} for the value."
        )
    return Tag(key, value)


def instance_of(arn: str) -> str | None:
    """The instance for which registering made an IAM user; None for a user that was made otherwise."""
    _, found, name = arn.partition(f":user{IAM_PATH}")
    return name if found and name and "/" not in name else None


def check_user_arn(arn: str) -> str:
    """Return the ARN of an IAM user. Raises RegistrationUsageError."""
    if not _USER.fullmatch(arn):
        raise RegistrationUsageError(
            f"{arn!r} is not the ARN of an IAM user.", remedy="It is arn:aws:iam::ACCOUNT:user/NAME."
        )
    return arn


def check_session_arn(arn: str) -> str:
    """Return the ARN of a session of an assumed role. Raises RegistrationUsageError."""
    if not _SESSION.fullmatch(arn):
        raise RegistrationUsageError(
            f"{arn!r} is not the ARN of a session.",
            remedy="It is arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION, and the session's name must stay the same.",
        )
    return arn
