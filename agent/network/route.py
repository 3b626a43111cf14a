"""How a URL is reached, and its requests as they go over the wire."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, quote

from agent.network.connections import Pool
from agent.network.explain import Target, explain

PORTS = {"http": 80, "https": 443}

PLAIN = "!$&'()*+,;=:@/?%"
"""What stands in a path and a query as it is, beside letters, digits and ``-._~``."""


class Request(NamedTuple):
    """A request as it was asked for, all its headers, and the bytes that are sent."""

    method: str
    headers: Mapping[str, str]
    body: bytes
    sent: Mapping[str, str]
    written: bytes

    def __repr__(self) -> str:
        """Show the method only: the rest may hold a password or a token."""
        return f"Request({self.method!r})"


class Route:
    """How a URL is reached, and the last request that was sent to it.

    An idle agent asks for the same thing again and again; to work it out anew would be most of what that costs.
    """

    def __init__(self, parts: SplitResult, target: Target, user_agent: str) -> None:
        self.target = target
        self.tls = parts.scheme == "https"
        self.pool: Pool | None = None
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._last: Request | None = None
        host = f"[{target.host}]" if ":" in target.host else target.host
        named = host if PORTS[parts.scheme] == target.port else f"{host}:{target.port}"
        self._headers = {"Host": named, "User-Agent": user_agent, "Accept-Encoding": "identity"}
        # A proxy that makes a tunnel is told when that is made; this one reads the request itself.
        self._forwarded = target.proxy is not None and not self.tls
        if self._forwarded and target.proxy is not None and target.proxy.authorization:
            self._headers["Proxy-Authorization"] = target.proxy.authorization

    @property
    def tunnel(self) -> bool:
        """Tell whether the way leads through a tunnel that a proxy makes."""
        return self.tls and self.target.proxy is not None

    def request(self, method: str, headers: Mapping[str, str], body: bytes) -> Request:
        """Put a request together. Raises NetworkError for characters that cannot be sent."""
        last = self._last
        if last is not None and last.method == method and last.headers == headers and last.body == body:
            return last
        try:
            self._last = self._new(method, dict(headers), body)
        except (ValueError, http.client.HTTPException) as error:
            raise explain(error, self.target) from error
        return self._last

    def _new(self, method: str, headers: Mapping[str, str], body: bytes) -> Request:
        given = {name.lower() for name in headers}
        sent = {name: value for name, value in self._headers.items() if name.lower() not in given} | {**headers}
        host = next(value for name, value in sent.items() if name.lower() == "host")
        # A path such as /bucket/a/../b is the name of an object, and was signed: nothing in it is put straight.
        path = quote(self._path, safe=PLAIN, errors="surrogatepass")
        data = _written(method, f"http://{host}{path}" if self._forwarded else path, sent, body)
        return Request(method, headers, body, sent, data)


class _Writer(http.client.HTTPConnection):
    """Writes requests into memory and connects to nobody."""

    def __init__(self) -> None:
        super().__init__("unused")
        self.written = bytearray()

    def send(self, data: Any) -> None:  # noqa: ANN401
        self.written += data


def _written(method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    # By the standard library, which refuses what would forge a header or a request; and in one piece, because two
    # small writes may wait 40 ms for each other.
    writer = _Writer()
    writer.request(method, path, body=body or None, headers=headers)
    return bytes(writer.written)
