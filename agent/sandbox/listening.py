"""Where the sandbox listens, and the addresses at which clients reach it."""

from __future__ import annotations

import errno
import ipaddress
import socket

import psutil

from agent.sandbox.errors import SandboxError

_QUEUE = 256
_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_REMEDIES = {
    errno.EADDRINUSE: "Choose another --port, or stop the program that has this one.",
    errno.EACCES: "Ports below 1024 are for root. Choose a --port from 1024 to 65535, or 0 for one that is free.",
    errno.EADDRNOTAVAIL: "Choose an address of this machine for --listen.",
}


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address, which may be written in brackets. Raises SandboxError with the system's reason."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_QUEUE)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise SandboxError(
            f"The sandbox cannot listen on {host} port {port}: {error.strerror or error}.",
            remedy=_REMEDIES.get(error.errno or 0, "Choose another --listen or --port."),
        ) from error
    return listening


def local_host(listening: socket.socket) -> str:
    """Return the host by which clients on this machine reach a socket: loopback for one that listens everywhere."""
    address = str(listening.getsockname()[0])
    return _LOOPBACK[listening.family] if ipaddress.ip_address(address.split("%")[0]).is_unspecified else address


def remote_hosts(listening: socket.socket) -> list[str]:
    """Return this machine's addresses at which other machines reach a socket that listens everywhere."""
    if local_host(listening) == listening.getsockname()[0]:
        return []
    families = (socket.AF_INET,) if listening.family == socket.AF_INET else (socket.AF_INET6, socket.AF_INET)
    known = [one.address for found in psutil.net_if_addrs().values() for one in found if one.family in families]
    usable = [ipaddress.ip_address(address) for address in known if "%" not in address]
    return [str(one) for one in usable if not (one.is_loopback or one.is_link_local)]


def in_url(host: str) -> str:
    """Write a host as URLs do."""
    return f"[{host}]" if ":" in host else host
