"""From what the instance metadata service answers to values; nothing in it is trusted before it was checked."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from agent.identity import names
from agent.identity.errors import CredentialsError, MetadataError
from agent.identity.times import epoch
from agent.network.credentials import Credentials

_ROLE = re.compile(r"[A-Za-z0-9_+=,.@-]{1,128}")
_LONGEST_SHOWN = 200


class InstanceDocument(NamedTuple):
    """What the instance identity document says of an instance."""

    account: str
    instance_id: str
    region: str


def parse_document(text: str) -> InstanceDocument:
    """Read an instance identity document. Raises MetadataError."""
    reply = _parse_object(text, "the instance identity document")
    account, instance_id, region = (_text_of(reply, key) for key in ("accountId", "instanceId", "region"))
    faults = [
        "" if names.is_account(account) else f"accountId is {shown(account)}",
        "" if names.is_instance_id(instance_id) else f"instanceId is {shown(instance_id)}",
        f"region is {shown(region)}" if names.region_fault(region) else "",
    ]
    if any(faults):
        found = ", ".join(fault for fault in faults if fault)
        raise MetadataError(
            f"The instance identity document cannot be right: {found}.",
            remedy="Check that the address of instance metadata leads to EC2's service.",
        )
    return InstanceDocument(account, instance_id, region)


def parse_role_name(text: str) -> str:
    """Find the name of the role that is attached to the instance; the first line counts, empty for none.

    Raises MetadataError.
    """
    name = text.strip().split("\n")[0].strip()
    if name and not _ROLE.fullmatch(name):
        raise MetadataError(f"Instance metadata names the role {shown(name)}, which is not a valid name of a role.")
    return name


def parse_credentials(text: str, *, role: str) -> Credentials:
    """Read the credentials of a role. Raises CredentialsError where there are none, MetadataError for nonsense."""
    reply = _parse_object(text, f"the credentials of the role {role}")
    code = _text_of(reply, "Code") or "Success"
    if code != "Success":
        said = _text_of(reply, "Message")
        raise CredentialsError(
            f"EC2 has no credentials for the role {role}: {shown(code)}" + (f" ({shown(said)})." if said else "."),
            remedy="Check that the role exists and that its trust policy lets ec2.amazonaws.com assume it.",
        )
    parts = [_text_of(reply, key) for key in ("AccessKeyId", "SecretAccessKey", "Token")]
    expiration = _text_of(reply, "Expiration")
    try:
        expires_at = epoch(expiration)
    except ValueError as error:
        raise MetadataError(
            f"The credentials of the role {role} end at {shown(expiration)}, which is not a time."
        ) from error
    if not all(names.is_key(part) for part in parts):
        raise MetadataError(f"The credentials of the role {role} that instance metadata gives are not whole.")
    access_key, secret_key, token = parts
    return Credentials(access_key, secret_key, token, expires_at)


def shown(text: str) -> str:
    """Quote an untrusted text for a message: control characters escaped, long ones cut."""
    return repr(text) if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]!r}..."


def _parse_object(text: str, what: str) -> dict[str, object]:
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict):
        # Without the chained error: it would hold the text, and with it perhaps a secret.
        raise MetadataError(f"Instance metadata gave something else than {what}: not a JSON object.") from None
    return reply


def _text_of(reply: dict[str, object], key: str) -> str:
    value = reply.get(key)
    return value if isinstance(value, str) else ""
