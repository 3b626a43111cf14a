"""What a failed request means, and what to do about it."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections.abc import Iterator
from typing import NamedTuple

from urllib3 import exceptions as urllib3_errors

from agent.network.answer import ClosedError, LimitError
from agent.network.errors import NetworkError, NetworkReason
from agent.network.proxies import Proxy
from agent.network.tls import TrustedFile


class RequestTarget(NamedTuple):
    """Where a request goes, as far as messages say it.

    ``endpoint`` is the setting that named the host, ``trusted`` the PEM file in the place of the system's certificates;
    ``may_be_proxied`` is false for a host that is never asked through a proxy.
    """

    host: str
    port: int
    proxy: Proxy | None
    connect_timeout: float
    endpoint: str = ""
    trusted: TrustedFile | None = None
    may_be_proxied: bool = True

    @property
    def place(self) -> str:
        """Host and port, with the setting that named them."""
        return f"{self.host}:{self.port}" + (f" ({self.endpoint})" if self.endpoint else "")

    @property
    def named_by(self) -> str:
        """The setting that named what this host itself connects to; empty where the agent has computed it."""
        return self.proxy.origin if self.proxy else self.endpoint

    @property
    def without_proxy(self) -> str:
        """A further remedy where no proxy is used."""
        return (
            ""
            if self.proxy or not self.may_be_proxied
            else " If this host needs a proxy, name it in proxy_uri or HTTPS_PROXY."
        )

    @property
    def peer(self) -> str:
        """Whom this host itself connects to."""
        return f"the proxy {self.proxy.place}" if self.proxy else self.place

    @property
    def way(self) -> str:
        """How the target is reached, as the end of a clause."""
        return f"{self.place} through the proxy {self.proxy.place}" if self.proxy else self.place


def network_error(error: BaseException, target: RequestTarget) -> NetworkError:
    """Turn an error of urllib3, ssl or the system into one that says what happened, where, and what to do."""
    chain = list(causes(error))
    for judge in (_closed, _unsendable, _tunnel, _tls, _name, _timeout, _connect):
        found = judge(chain, target)
        if found is not None:
            return found
    return _broken(chain, target)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all those that it came from; urllib3 keeps some as an argument only."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        found = waiting.pop(0)
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [found.__cause__, found.__context__, getattr(found, "original_error", None), *found.args]


def _closed(chain: list[BaseException], target: RequestTarget) -> NetworkError | None:
    if not any(isinstance(error, ClosedError | urllib3_errors.ClosedPoolError) for error in chain):
        return None
    text = f"The request to {target.place} was cancelled, because this process is stopping."
    return NetworkError(text, reason=NetworkReason.BROKEN)


def _unsendable(chain: list[BaseException], target: RequestTarget) -> NetworkError | None:
    # Many errors derive from ValueError; the one of a header with line ends or foreign letters is not more than that.
    if type(chain[0]) not in (ValueError, UnicodeEncodeError, http.client.InvalidURL):
        return None
    return NetworkError(
        f"A request to {target.place} has characters in its URL or its headers that cannot be sent.",
        reason=NetworkReason.CONNECT,
        remedy="Look for line ends and special characters in what it was made from.",
        passing=False,
    )


def _tunnel(chain: list[BaseException], target: RequestTarget) -> NetworkError | None:
    if target.proxy is None:
        return None
    for error in chain:
        found = re.search(r"Tunnel connection failed: (\d{3})", str(error)) if isinstance(error, OSError) else None
        if found:
            return refused_by_proxy(int(found[1]), target)
    return None


def refused_by_proxy(status: int, target: RequestTarget) -> NetworkError:
    """Say that the proxy answered in the place of the target, with this status."""
    proxy = target.proxy.place if target.proxy else ""
    if status == 407:
        text = f"The proxy {proxy} asks for a user name and a password (status 407)"
        sent = target.proxy is not None and target.proxy.authorization is not None
        text += ", and refused those that were sent." if sent else ", and none are configured."
        origin = target.proxy.origin if target.proxy else "proxy_uri"
        remedy = f"Put them into {origin}: http://user:password@host:port, special characters as %XX."
    else:
        text = f"The proxy {proxy} does not connect to {target.place} (status {status})."
        remedy = f"Allow {target.place} in the proxy, or name the host in NO_PROXY if it is reached directly."
    return NetworkError(text, reason=NetworkReason.PROXY, remedy=remedy, passing=status >= 500)


UNKNOWN_ISSUER = (2, 18, 19, 20, 21)
"""OpenSSL's verification codes for a chain that ends in no certificate that we trust."""

EXPIRED, NOT_YET_VALID = 10, 9
WRONG_NAME, WRONG_ADDRESS = 62, 64


def _tls(chain: list[BaseException], target: RequestTarget) -> NetworkError | None:
    found = next((error for error in chain if isinstance(error, ssl.SSLError)), None)
    if found is None:
        return None
    proxied = any(isinstance(error, urllib3_errors.ProxyError) for error in chain)
    peer = target.peer if proxied else target.place
    if isinstance(found, ssl.SSLCertVerificationError):
        text, remedy = _certificate(found, peer, target.trusted)
    else:
        text, remedy = _handshake(found, peer)
    return NetworkError(text, reason=NetworkReason.TLS, remedy=remedy)


def _other_name(peer: str, detail: str) -> tuple[str, str]:
    return (
        f"The certificate of {peer} is for another name ({detail.rstrip('.')}).",
        "Use the name that the certificate bears; a private endpoint or a proxy may be answering in its place.",
    )


def _certificate(error: ssl.SSLCertVerificationError, peer: str, trusted: TrustedFile | None) -> tuple[str, str]:
    code = error.verify_code
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if code in UNKNOWN_ISSUER:
        return (
            f"The certificate of {peer} comes from an issuer that this host does not trust ({error.verify_message}).",
            _trust_remedy(trusted),
        )
    if code in (EXPIRED, NOT_YET_VALID):
        state = "has expired" if code == EXPIRED else "is not valid yet"
        return (
            f"The certificate of {peer} or of its issuer {state}, by this host's clock ({now}).",
            "Correct the clock if it is wrong; else the server needs a new certificate.",
        )
    if code in (WRONG_NAME, WRONG_ADDRESS):
        return _other_name(peer, error.verify_message)
    return f"The certificate of {peer} is refused: {error.verify_message}.", "Have it replaced by a valid one."


def _trust_remedy(trusted: TrustedFile | None) -> str:
    if trusted is not None:
        return (
            f"Only the issuers in {trusted.path} are trusted, which {trusted.origin} names: add the one that is"
            f" missing there, or unset {trusted.origin} to trust the system's."
        )
    return (
        "If a proxy inspects TLS, or the endpoint has its own issuer, name the issuer's certificate as a PEM file in"
        " ca_bundle (or AWS_CA_BUNDLE), or add it to the system's; else install the package ca-certificates."
    )


def _handshake(error: ssl.SSLError, peer: str) -> tuple[str, str]:
    detail = error.reason or str(error)
    if detail in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return (
            f"{peer} does not speak TLS at that port.",
            "Check scheme and port in deploy_control_endpoint, and those of the proxy in proxy_uri or HTTPS_PROXY.",
        )
    text = f"No TLS connection to {peer} could be made ({detail.replace('_', ' ').lower()})."
    return text, "TLS 1.2 or later is needed; a firewall between may cut it off."


def _name(chain: list[BaseException], target: RequestTarget) -> NetworkError | None:
    found = next((error for error in chain if isinstance(error, socket.gaierror)), None)
    if found is None:
        return None
    if found.errno == socket.EAI_AGAIN:
        text, remedy = "could not be looked up for now", "Check that the name servers in /etc/resolv.conf answer."
    else:
        what = f"its spelling in {target.named_by}" if target.named_by else "the region"
        text, remedy = "is not known to the name servers", f"Check {what}, and /etc/resolv.conf."
    remedy += target.without_proxy
    return NetworkError(f"The name of {target.peer} {text}.", reason=NetworkReason.DNS, remedy=remedy)


def _timeout(chain: list[BaseException], target: RequestTarget) -> NetworkError | None:
    # In urllib3 a NewConnectionError counts as a timeout of the connection, whatever its cause.
    never = urllib3_errors.NewConnectionError
    if any(isinstance(e, urllib3_errors.ConnectTimeoutError) and not isinstance(e, never) for e in chain):
        return NetworkError(
            f"No connection to {target.peer} within {target.connect_timeout:g} s.",
            reason=NetworkReason.TIMEOUT,
            remedy=f"Check routes, security groups and firewalls.{target.without_proxy}",
        )
    if any(isinstance(error, TimeoutError) and "handshake" in str(error) for error in chain):
        return NetworkError(
            f"No TLS handshake with {target.way} within {target.connect_timeout:g} s.",
            reason=NetworkReason.TIMEOUT,
            remedy="Check scheme and port in deploy_control_endpoint or proxy_uri, and that firewalls let TLS pass.",
        )
    limit = next((error for error in chain if isinstance(error, LimitError)), None)
    if limit is not None:
        return NetworkError(
            f"{target.way} {limit}.",
            reason=NetworkReason.TIMEOUT,
            remedy="The agent tries again where that makes sense. If this persists, check firewalls and the proxy.",
        )
    if any(isinstance(error, TimeoutError) for error in chain):
        return NetworkError(
            f"No connection to {target.way} within {target.connect_timeout:g} s.",
            reason=NetworkReason.TIMEOUT,
            remedy="Check the proxy, and whether it reaches the host." if target.proxy else "Check firewalls.",
        )
    return None


def _connect(chain: list[BaseException], target: RequestTarget) -> NetworkError | None:
    never = (urllib3_errors.NewConnectionError, urllib3_errors.ProxyError, urllib3_errors.LocationValueError)
    if not any(isinstance(error, never) for error in chain):
        return None
    if isinstance(chain[0], urllib3_errors.LocationValueError):
        text = f"{target.place} is not a usable address of a host."
        return NetworkError(text, reason=NetworkReason.CONNECT, remedy="Correct it in the settings.", passing=False)
    found = next((e.strerror for e in chain if isinstance(e, OSError) and e.strerror), "") or str(chain[-1])
    refused = any(isinstance(error, ConnectionRefusedError) for error in chain)
    where = f" in {target.named_by}" if target.named_by else ""
    remedy = (
        f"Check that it runs and that the port{where} is right." if refused else "Check this host's network and routes."
    )
    return NetworkError(
        f"No connection to {target.peer}: {found}.",
        reason=NetworkReason.PROXY if target.proxy else NetworkReason.CONNECT,
        remedy=f"{remedy}{target.without_proxy}",
    )


def _broken(chain: list[BaseException], target: RequestTarget) -> NetworkError:
    detail = next((e.strerror for e in chain if isinstance(e, OSError) and e.strerror), "")
    if any(isinstance(error, urllib3_errors.IncompleteRead) or "IncompleteRead" in repr(error) for error in chain):
        detail = "the answer is shorter than announced"
    return NetworkError(
        f"The connection to {target.way} broke" + (f": {detail}." if detail else " before a whole answer had come."),
        reason=NetworkReason.BROKEN,
        remedy="The agent tries again where that makes sense. If this persists, check firewalls and the proxy.",
    )
