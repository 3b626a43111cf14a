"""User data for a host whose image has cloud-init: from a directory, or from a metadata service like EC2's."""

from __future__ import annotations

from booted_host import BootedHost, HostError

_SEED = "/var/lib/cloud/seed/nocloud"


def seed(host: BootedHost, user_data: str, *, instance: str = "i-0123456789abcdef0") -> None:
    """Lay user data where cloud-init's NoCloud source finds it; the host is off and has not been booted."""
    host.put(f"{_SEED}/meta-data", f"instance-id: {instance}\nlocal-hostname: {host.name}\n")
    host.put(f"{_SEED}/user-data", user_data)
    host.put("/etc/cloud/cloud.cfg.d/91-seed.cfg", "datasource_list: [NoCloud, None]\n")


def expect_metadata(host: BootedHost) -> None:
    """Let cloud-init ask 169.254.169.254 as on EC2; the host is off and has not been booted.

    Without EC2's marks in the firmware, cloud-init asks without a session token (IMDSv1).
    """
    source = "datasource: {Ec2: {strict_id: false, max_wait: 60, timeout: 5}}\n"
    host.put("/etc/cloud/cloud.cfg.d/91-metadata.cfg", f"datasource_list: [Ec2, None]\n{source}")


def wait_for_cloud_init(host: BootedHost, timeout: float = 300.0) -> None:
    """Wait until cloud-init has done everything, user data included; raises HostError when something failed."""
    ended = host.run("cloud-init status --wait --long", timeout=timeout, check=False)
    if ended.status != 0 or "status: done" not in ended.stdout:
        log = host.run("tail -n 100 /var/log/cloud-init-output.log", check=False).stdout
        raise HostError(f"cloud-init of {host.name} failed:\n{ended.stdout}{ended.stderr}\n{log}")
