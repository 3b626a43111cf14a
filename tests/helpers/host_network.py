"""A network for test hosts that exists nowhere else: a switch in a namespace of its own, and a cable to each host.

Nothing of it is in the machine's own network, so every test has the same addresses and none can reach outside.
What is to serve the hosts, or to reach them, enters the switch's namespace, which is the test machine's end:

    with network.entered():
        start_a_service(listen=MACHINE_ADDRESS)
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

SUBNET = ipaddress.ip_network("10.213.0.0/24")
MACHINE_ADDRESS = str(SUBNET[1])
"""The test machine's end, as hosts see it."""
METADATA_ADDRESS = "169.254.169.254"

_NAMESPACES = Path("/run/netns")  # where ip-netns(8) keeps them
_CLONE_NEWNET = 0x40000000


class Plug(NamedTuple):
    """A host's end of its cable, ``eth0``."""

    address: str
    mac: str


class HostNetwork:
    """A switch with the test machine's end, to which hosts are attached.

    It goes with its namespaces, which host_leftovers.remove_lab() finds by their names.
    """

    def __init__(self, name: str) -> None:
        """Make the namespace ``name`` with the switch in it."""
        self.name = name
        self.path = _NAMESPACES / name
        self._hosts: dict[str, str] = {}
        _ip("netns", "add", name)
        self._in_switch("link", "set", "lo", "up")
        self._in_switch("link", "add", "switch", "type", "bridge", "forward_delay", "0")
        self._in_switch("address", "add", f"{MACHINE_ADDRESS}/{SUBNET.prefixlen}", "dev", "switch")
        self._in_switch("link", "set", "switch", "up")

    def attach(self, namespace: str) -> Plug:
        """Make a namespace for one host with ``eth0`` in it."""
        number = 10 + len(self._hosts)
        address, mac = str(SUBNET[number]), f"02:00:00:00:00:{number:02x}"
        cable = f"host{len(self._hosts)}"
        self._hosts[namespace] = cable
        _ip("netns", "add", namespace)
        peer = ["peer", "name", "eth0", "address", mac, "netns", namespace]
        self._in_switch("link", "add", cable, "type", "veth", *peer)
        self._in_switch("link", "set", cable, "master", "switch", "up")
        _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", namespace, "address", "add", f"{address}/{SUBNET.prefixlen}", "dev", "eth0")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        # Where a cloud's hosts look for their metadata. Nobody answers there until serve_metadata_address().
        _ip("-n", namespace, "route", "add", f"{METADATA_ADDRESS}/32", "dev", "eth0")
        return Plug(address, mac)

    def set_cable(self, namespace: str, *, plugged: bool) -> None:
        """Plug a host's cable in, or pull it out at the switch."""
        self._in_switch("link", "set", self._hosts[namespace], "up" if plugged else "down")

    def serve_metadata_address(self) -> None:
        """Give the test machine's end 169.254.169.254 besides, for a metadata service to listen on."""
        self._in_switch("address", "add", f"{METADATA_ADDRESS}/32", "dev", "switch")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread, and each process that it starts, be at the test machine's end of the network."""
        with in_namespace(self.path):
            yield

    def command(self, *words: str) -> list[str]:
        """A command that runs at the test machine's end of the network."""
        return ["nsenter", f"--net={self.path}", "--", *words]

    def _in_switch(self, *words: str) -> None:
        _ip("-n", self.name, *words)


@contextmanager
def in_namespace(path: Path) -> Iterator[None]:
    """Let this thread, and each process that it starts, use another network namespace."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        desired = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_namespace(desired)
        finally:
            os.close(desired)
        try:
            yield
        finally:
            _set_namespace(before)
    finally:
        os.close(before)


def namespaces(prefix: str) -> list[str]:
    """The names of the network namespaces that begin with ``prefix``."""
    with suppress(FileNotFoundError):
        return [path.name for path in _NAMESPACES.iterdir() if path.name.startswith(prefix)]
    return []


def remove_namespace(name: str) -> None:
    """Remove a network namespace, if it is there."""
    if name in namespaces(name):
        _ip("netns", "delete", name)


def _set_namespace(descriptor: int) -> None:
    # os.setns() came with Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"
