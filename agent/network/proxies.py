"""Which proxy a request goes through: the setting, the environment, NO_PROXY."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from agent.network.errors import NetworkError, NetworkReason

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

PROXY_SCHEMES = ("http", "https")


class Proxy(NamedTuple):
    """A proxy to go through: its URL without credentials, and the value of ``Proxy-Authorization`` if it wants one.

    ``origin`` is the setting, option or variable that named it.
    """

    url: str
    authorization: str | None = None
    origin: str = "proxy_uri"

    @property
    def place(self) -> str:
        """Its host and port with what named it, for messages."""
        return f"{urlsplit(self.url).netloc} ({self.origin})"

    def __repr__(self) -> str:
        """Show the address only: the rest holds a password."""
        return f"Proxy({self.url!r})"


def parse_proxy(text: str, origin: str = "proxy_uri") -> Proxy:
    """Read a proxy's URL; user and password in it are percent-decoded, and a missing scheme means http.

    Raises NetworkError, which does not repeat the text: it may hold a password.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme not in PROXY_SCHEMES:
        raise NetworkError(
            f"The address of the proxy in {origin} is not a URL such as http://proxy.example:3128.",
            reason=NetworkReason.PROXY,
            remedy=f"Correct {origin}; in a user name or a password the characters /, :, @, ? and # are written as %2F,"
            " %3A, %40, %3F and %23.",
            passing=False,
        )
    port = port or (443 if parts.scheme == "https" else 80)
    return Proxy(f"{parts.scheme}://{_bracketed(host)}:{port}", _basic(parts.username, parts.password), origin)


def _basic(user: str | None, password: str | None) -> str | None:
    if user is None:
        return None
    import base64

    both = b"%s:%s" % (_bytes(user), _bytes(password or ""))
    return "Basic " + base64.b64encode(both).decode("ascii")


def _bytes(text: str) -> bytes:
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def proxy_for(
    *,
    scheme: str,
    host: str,
    port: int,
    setting: str | None,
    environment: Mapping[str, str],
    setting_name: str = "proxy_uri",
) -> Proxy | None:
    """Choose the proxy of a request, None for the direct way.

    The setting wins over the environment's HTTPS_PROXY or HTTP_PROXY, and NO_PROXY over both; the lower-case name
    of a variable wins over the upper-case one, as in curl. This host itself is never asked through a proxy.
    ``setting_name`` is for messages. Raises NetworkError for an address that is none.
    """
    name = _variable(environment, f"{scheme}_proxy")
    text = setting or environment.get(name)
    if not text or is_loopback(host) or is_exempt(host, port, environment.get(_variable(environment, "no_proxy"), "")):
        return None
    return parse_proxy(text, setting_name if setting else name)


def _variable(environment: Mapping[str, str], name: str) -> str:
    """Return which of the two spellings of a variable counts."""
    return name if environment.get(name) else name.upper()


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address of a URL means this host."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Tell whether NO_PROXY takes a host out.

    Its entries are divided by commas or spaces: ``*``, a name or ``.domain`` (each with all names below it), an
    address, or a network in CIDR form; a name or an address may end in ``:port``. Names are not resolved.
    """
    name = host.lower().rstrip(".").strip("[]")
    return any(_matches(entry, name, port) for entry in re.split(r"[,\s]+", no_proxy.lower()) if entry)


def _matches(entry: str, name: str, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return _in_network(entry, name)
    bare, only = _split_port(entry)
    if only and only != port:
        return False
    address = _address(bare)
    if address is not None:
        return address == _address(name)
    domain = bare.removeprefix("*").strip(".")
    return bool(domain) and (name == domain or name.endswith("." + domain))


def _split_port(entry: str) -> tuple[str, int]:
    """Divide ``name:port`` or ``[address]:port``; the port is 0 where there is none."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?", entry)
    if found is None:
        return entry, 0
    return found[1].strip("[]"), int(found[2] or 0)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    import ipaddress

    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


def _in_network(entry: str, name: str) -> bool:
    import ipaddress

    address = _address(name)
    try:
        return address is not None and address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
