"""Turns running EC2 instances of the sandbox into instances that the metadata service speaks for."""

from __future__ import annotations

import time
from calendar import timegm
from typing import Any

from agent.network.credentials import Credentials
from agent.sandbox.engine.records import Scope
from agent.sandbox.errors import RefusedError
from agent.sandbox.metadata import MetadataApp, MetadataInstance
from agent.sandbox.wire.moto_side import MotoSide

_RENEW = 900.0  # seconds before their end at which a role's credentials are made anew, as EC2 does it
_LASTING = 6 * 3600


class MetadataControl:
    """Adds and removes instances; ``address`` says which clients are such an instance, without it all are."""

    def __init__(self, scope: Scope, metadata: MetadataApp, moto: MotoSide) -> None:
        self._scope = scope
        self._metadata = metadata
        self._moto = moto

    def add(self, desired: dict[str, Any]) -> None:
        """Serve ``instance_id``, which must run, with a ``role`` (optional) to ``address`` (optional).

        With ``tokens`` "optional" instead of "required", questions without a token are answered too.
        """
        instance_id = desired.get("instance_id")
        if instance_id not in [one.instance_id for one in self._moto.running_instances()]:
            raise RefusedError("InvalidInputException", f"No EC2 instance {instance_id} is running.")
        role = str(desired.get("role") or "")
        address = desired.get("address")
        if desired.get("tokens", "required") not in ("required", "optional"):
            raise RefusedError("InvalidInputException", "tokens is required or optional, as HttpTokens in EC2.")
        instance = MetadataInstance(
            instance_id=str(instance_id),
            account=self._scope.account,
            region=self._scope.region,
            partition=self._scope.partition,
            role=role,
            private_address=str(address or "127.0.0.1"),
            user_data=self._moto.user_data(str(instance_id)),
            allow_v1=desired.get("tokens") == "optional",
            credentials=_RoleSession(self._moto, role, str(instance_id)) if role else None,
        )
        self._metadata.add(instance, address=address)

    def remove(self, desired: dict[str, Any]) -> None:
        """Serve nobody at this address any more."""
        self._metadata.remove(desired.get("address"))


class _RoleSession:
    """Gives an instance's credentials, which change before they end."""

    def __init__(self, moto: MotoSide, role: str, instance_id: str) -> None:
        self._moto = moto
        self._role = role
        self._instance_id = instance_id
        self._current: Credentials | None = None

    def __call__(self) -> Credentials:
        if self._current is None or (self._current.expires_at or 0.0) - time.time() < _RENEW:
            made = self._moto.session_for(self._role, self._instance_id, _LASTING)
            ends = float(timegm(time.strptime(made["expiration"], "%Y-%m-%dT%H:%M:%SZ")))
            self._current = Credentials(made["access_key"], made["secret_key"], made["token"], ends)
        return self._current
