"""What an instance can read about itself, as the tree that its metadata service shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from agent.network.credentials import Credentials

Content = str | bytes | Callable[[], Mapping[str, Any]]
"""A text, bytes, or a function that makes a JSON object when it is asked."""


class Directory:
    """Entries by their names; ``shown`` replaces an entry's name in the listing."""

    def __init__(
        self, entries: Mapping[str, Content | Directory | None], *, shown: Mapping[str, str] | None = None
    ) -> None:
        self.entries = {name: entry for name, entry in entries.items() if entry is not None}
        self._shown = shown or {}

    def listing(self) -> str:
        """One name a line, directories with a slash at the end."""
        return "\n".join(
            self._shown.get(name, f"{name}/" if isinstance(entry, Directory) else name)
            for name, entry in self.entries.items()
        )


class MetadataInstance(NamedTuple):
    """An instance: what it is told about itself; an empty or missing part is absent from its metadata.

    ``credentials`` is asked for the role's credentials each time somebody reads them; without it, or without ``role``,
    no role is attached. ``tags`` are those that the instance may read; None where it may read none. ``allow_v1``
    answers questions without a token too.
    """

    instance_id: str
    account: str = "123456789012"
    region: str = "us-east-1"
    partition: str = "aws"
    domain: str = "amazonaws.com"
    zone: str = ""
    private_address: str = "127.0.0.1"
    host_name: str = ""
    mac: str = ""
    image_id: str = "ami-00000000000000000"
    instance_type: str = "t3.micro"
    role: str = ""
    credentials: Callable[[], Credentials] | None = None
    user_data: bytes = b""
    public_keys: Mapping[str, str] = {}
    tags: Mapping[str, str] | None = None
    allow_v1: bool = False


def tree_of(instance: MetadataInstance) -> Directory:
    """Build the tree below ``latest``, in the forms of the EC2 user guide, "Instance metadata categories"."""
    return Directory(
        {
            "dynamic": Directory({"instance-identity": Directory({"document": lambda: _document(instance)})}),
            "meta-data": _meta_data(instance),
            "user-data": instance.user_data or None,
        }
    )


def _meta_data(instance: MetadataInstance) -> Directory:
    name = instance.host_name or f"ip-{instance.private_address.replace('.', '-')}.ec2.internal"
    return Directory(
        {
            "ami-id": instance.image_id,
            "ami-launch-index": "0",
            "hostname": name,
            "iam": _iam(instance),
            "instance-action": "none",
            "instance-id": instance.instance_id,
            "instance-life-cycle": "on-demand",
            "instance-type": instance.instance_type,
            "local-hostname": name,
            "local-ipv4": instance.private_address,
            "mac": instance.mac or None,
            "network": _network(instance, name),
            "placement": Directory({"availability-zone": _zone(instance), "region": instance.region}),
            "public-keys": _public_keys(instance),
            "reservation-id": f"r-{instance.instance_id.removeprefix('i-')}",
            "security-groups": "default",
            "services": Directory({"domain": instance.domain, "partition": instance.partition}),
            "tags": None if instance.tags is None else Directory({"instance": Directory(instance.tags)}),
        }
    )


def _zone(instance: MetadataInstance) -> str:
    return instance.zone or f"{instance.region}a"


def _document(instance: MetadataInstance) -> Mapping[str, Any]:
    return {
        "accountId": instance.account,
        "architecture": "x86_64",
        "availabilityZone": _zone(instance),
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": None,
        "imageId": instance.image_id,
        "instanceId": instance.instance_id,
        "instanceType": instance.instance_type,
        "kernelId": None,
        "pendingTime": "2026-01-01T00:00:00Z",
        "privateIp": instance.private_address,
        "ramdiskId": None,
        "region": instance.region,
        "version": "2017-09-30",
    }


def _iam(instance: MetadataInstance) -> Directory | None:
    give = instance.credentials
    if not instance.role or give is None:
        return None
    profile = {
        "Code": "Success",
        "LastUpdated": _stamp(),
        "InstanceProfileArn": f"arn:{instance.partition}:iam::{instance.account}:instance-profile/{instance.role}",
        "InstanceProfileId": "AIPAIOSFODNN7EXAMPLE",
    }

    def credentials() -> Mapping[str, Any]:
        found = give()
        return {
            "Code": "Success",
            "LastUpdated": _stamp(),
            "Type": "AWS-HMAC",
            "AccessKeyId": found.access_key,
            "SecretAccessKey": found.secret_key,
            "Token": found.token or "",
            "Expiration": _stamp(found.expires_at),
        }

    return Directory({"info": lambda: profile, "security-credentials": Directory({instance.role: credentials})})


def _network(instance: MetadataInstance, name: str) -> Directory | None:
    if not instance.mac:
        return None
    card = Directory(
        {
            "device-number": "0",
            "local-hostname": name,
            "local-ipv4s": instance.private_address,
            "mac": instance.mac,
            "owner-id": instance.account,
        }
    )
    return Directory({"interfaces": Directory({"macs": Directory({instance.mac: card})})})


def _public_keys(instance: MetadataInstance) -> Directory | None:
    if not instance.public_keys:
        return None
    directories = {
        str(number): Directory({"openssh-key": key}) for number, key in enumerate(instance.public_keys.values())
    }
    shown = {str(number): f"{number}={name}" for number, name in enumerate(instance.public_keys)}
    return Directory(directories, shown=shown)


def _stamp(seconds: float | None = None) -> str:
    when = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
