"""A lab: some hosts that really boot, on a network of their own, and all of them gone when it is closed.

For instance:

    with HostLab() as lab:
        web = lab.boot("web", "debian12")
        web.run("systemctl start nginx")
        assert web.testinfra.service("nginx").is_running
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import pytest

import host_leftovers
from booted_host import BootedHost
from host_images import image_directory
from host_network import HostNetwork, in_namespace

NEEDED = [
    pytest.mark.long,
    pytest.mark.needs("root", "mount", "netns", "boot", "mirror"),
    pytest.mark.needs_tool("debootstrap", "systemd-nspawn", "ip", "nsenter", "setpriv", "journalctl"),
]
"""The marks of a test module that boots hosts: ``pytestmark = NEEDED``."""


class HostLab:
    """Some hosts on one network, all of which go when the lab is closed."""

    def __init__(self) -> None:
        """Make the network, after removing what killed runs have left."""
        self._outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.directory = host_leftovers.new_lab_directory()
        self.hosts: list[BootedHost] = []
        try:
            self.network = HostNetwork(f"{self.directory.name}-switch")
        except BaseException:
            self.close()
            raise

    def create(
        self,
        name: str,
        image: str = "debian12",
        *,
        disk: str = "1g",
        read_only: Mapping[str, Path] | None = None,
        layers: Sequence[Path] = (),
    ) -> BootedHost:
        """Make a host without starting it, so that files may be put there before its first boot.

        ``image`` is a key of host_images.IMAGES; ``disk`` is how much may be written, as in tmpfs(5);
        ``read_only`` maps paths inside the host to directories or files of this machine; ``layers`` lie over the image,
        the topmost first, and are what BootedHost.written has given.
        """
        with self.outside():  # an image may have to be made first, and is fetched
            lower = [*layers, image_directory(image)]
        host = BootedHost(name, lower, lab=self.directory, network=self.network, disk=disk, read_only=read_only or {})
        self.hosts.append(host)
        return host

    def boot(
        self, name: str, image: str = "debian12", *, disk: str = "1g", read_only: Mapping[str, Path] | None = None
    ) -> BootedHost:
        """Make a host, start it and wait until it is up; the arguments are those of create()."""
        host = self.create(name, image, disk=disk, read_only=read_only)
        host.start()
        return host

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Let this thread be in the machine's own network, also where it has entered the lab's."""
        with in_namespace(Path(f"/proc/self/fd/{self._outside}")):
            yield

    def close(self) -> None:
        """Kill the hosts and remove all that they have made."""
        host_leftovers.remove_lab(self.directory)
        os.close(self._outside)
        for host in self.hosts:
            host.forget_process()

    def __enter__(self) -> HostLab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
