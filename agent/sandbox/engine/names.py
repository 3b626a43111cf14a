"""Identifiers in the forms that the service gives them."""

from __future__ import annotations

import base64
import secrets
import string
import uuid

_LETTERS = string.ascii_uppercase + string.digits


def deployment_id() -> str:
    """Make a deployment id, ``d-`` and nine capital letters or digits."""
    return "d-" + "".join(secrets.choice(_LETTERS) for _ in range(9))


def random_uuid() -> str:
    """Make the id of an application, group or configuration."""
    return str(uuid.uuid4())


def command_identifier() -> str:
    """Make a command identifier: opaque text with slashes and the like in it, as the real ones have."""
    return base64.b64encode(secrets.token_bytes(72)).decode()


def execution_id(region: str, account: str, deployment: str) -> str:
    """Make the id under which one target's specification is asked for."""
    return f"{region}/{account}/{deployment}/{secrets.token_hex(8)}"
