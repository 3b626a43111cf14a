"""moto, as far as the sandbox knows it: keys and their owners, and running instances."""

from __future__ import annotations

import secrets
import sys
from base64 import b64decode
from typing import Any

from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from agent.sandbox.engine.hosts import Ec2Instance
from agent.sandbox.engine.records import Scope
from agent.sandbox.wire.sigv4 import AccountKey, Caller

ADMINISTRATOR = "sandbox"
"""The IAM user whose key the sandbox prints."""


class MotoSide:
    """The part of the sandbox that is moto, for one account."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._iam = iam_backends[scope.account][scope.partition]
        self._sts = sts_backends[scope.account][scope.partition]

    def make_administrator(self) -> tuple[str, str]:
        """Make the key that the sandbox prints; give its id and its secret, both random."""
        self._iam.create_user(self._scope.region, ADMINISTRATOR)
        key = self._iam.create_access_key(ADMINISTRATOR)
        key.secret_access_key = secrets.token_urlsafe(30)
        return key.access_key_id, key.secret_access_key

    def find_key(self, access_key: str) -> AccountKey | None:
        """Look up an access key of an IAM user or of a session; None if there is none, or it was made inactive."""
        key = self._iam.access_keys.get(access_key)
        if key is None or key.status != "Active":
            return None
        role = self._sts.get_assumed_role_from_access_key(access_key)
        if role is not None:
            caller = Caller(access_key, role.arn, session=role.session_name)
            return AccountKey(role.secret_access_key, caller, role.session_token, role.expiration.timestamp())
        user = self._iam.users.get(key.user_name or "")
        if user is None or all(one is not key for one in user.access_keys):
            return None
        return AccountKey(key.secret_access_key, Caller(access_key, user.arn))

    def running_instances(self) -> list[Ec2Instance]:
        """Return the EC2 instances that run at the moment."""
        return [Ec2Instance(one.id, {tag["key"]: tag["value"] for tag in one.get_tags()}) for one in self._running()]

    def user_data(self, instance_id: str) -> bytes:
        """Return what a running instance was started with; empty for none."""
        (found,) = [one.user_data for one in self._running() if one.id == instance_id]
        return b64decode(str(found)) if found else b""

    def _running(self) -> list[Any]:
        # moto loads EC2, which takes longer than all else of the sandbox, when a caller first asks for it. Before that
        # there are no instances.
        loaded = sys.modules.get("moto.ec2.models")
        return loaded.ec2_backends[self._scope.account][self._scope.region].all_running_instances() if loaded else []

    def session_for(self, role: str, session: str, seconds: int) -> dict[str, str]:
        """Make credentials of a role's session, as EC2 does for an instance."""
        assumed = self._sts.assume_role(
            self._scope.region, session, f"arn:{self._scope.partition}:iam::{self._scope.account}:role/{role}", "",
            seconds, "",
        )  # fmt: skip
        return {
            "access_key": assumed.access_key_id,
            "secret_key": assumed.secret_access_key,
            "token": assumed.session_token,
            "expiration": assumed.expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
