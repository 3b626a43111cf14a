"""HTTP requests through proxies and with certificates, each sent once, with errors that say what to do."""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, quote, urlsplit

from urllib3 import PoolManager, ProxyManager, Timeout
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPConnection

from agent import __version__
from agent.network.answer import MinimumRate, NothingReadError
from agent.network.connections import LimitedConnection, OpenConnections, Pool, TlsPool
from agent.network.errors import NetworkError, NetworkReason
from agent.network.explain import RequestTarget, causes, network_error, refused_by_proxy
from agent.network.proxies import Proxy, is_loopback, proxy_for
from agent.network.response import Response
from agent.network.tls import make_context, trusted_file
from agent.network.wire_log import WireLog

if TYPE_CHECKING:
    import ssl

__all__ = ["HttpClient", "HttpOptions", "MinimumRate", "NetworkError", "NetworkReason", "Response"]

PORTS = {"http": 80, "https": 443}

PLAIN = "!$&'()*+,;=:@/?%"
"""What stands in a path and a query as it is, beside letters, digits and ``-._~``."""

LEAST = 0.001
"""Seconds in the place of a time of 0, which urllib3 refuses."""

PER_HOST = 16
"""Idle connections kept for each host: as many as download side by side."""

# urllib3 writes URLs to its log, warnings included, and a redirected download bears its token there.
logging.getLogger("urllib3").setLevel(logging.ERROR)
# At debug level botocore writes what it signs to its log, the session token included.
logging.getLogger("botocore").setLevel(logging.WARNING)


class HttpOptions(NamedTuple):
    """How this host reaches others.

    ``proxy`` wins over the environment and may carry ``user:password@``. ``ca_bundle`` is a PEM file. Of
    ``environment`` HTTPS_PROXY, HTTP_PROXY and NO_PROXY (see ``proxies``), AWS_CA_BUNDLE, SSL_CERT_FILE and
    AWS_SSL_CA_DIRECTORY (see ``tls``) are read; nothing else is. ``minimum_rate`` is that of answers read in pieces.
    For messages ``proxy_origin`` says what named the proxy, and ``endpoints`` which setting named a ``host:port``.
    """

    proxy: str | None = None
    ca_bundle: str | None = None
    environment: Mapping[str, str] = MappingProxyType({})
    user_agent: str = f"codedeploy-host-agent/{__version__}"
    minimum_rate: MinimumRate = MinimumRate()
    proxy_origin: str = "proxy_uri"
    endpoints: Mapping[str, str] = MappingProxyType({})

    def __repr__(self) -> str:
        """Leave out the proxy and the environment: they may hold passwords."""
        return f"HttpOptions(ca_bundle={self.ca_bundle!r}, user_agent={self.user_agent!r})"


DEFAULTS = HttpOptions()
BROKEN = (urllib3_errors.HTTPError, http.client.HTTPException, OSError, ValueError)
"""What goes wrong with a request until its answer begins."""


class HttpClient:
    """Connections that are kept and used again; may be used by several threads at once."""

    def __init__(self, options: HttpOptions = DEFAULTS, *, wire_log: WireLog | None = None) -> None:
        self._options = options
        self._wire_log = wire_log
        self._open = OpenConnections()
        self._managers: dict[tuple[Proxy | None, bool], PoolManager] = {}
        self._context: ssl.SSLContext | None = None
        self._making = threading.Lock()

    @property
    def minimum_rate(self) -> MinimumRate:
        """The rate below which an answer that is read in pieces is given up."""
        return self._options.minimum_rate

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        connect_timeout: float = 10.0,
        read_timeout: float = 30.0,
        proxied: bool = True,
    ) -> Response:
        """Send one request and return its answer, whatever its status; redirects are not followed.

        The times are in seconds: ``connect_timeout`` for each step (an address of the host, the proxy's answer, TLS,
        sending), ``read_timeout`` for the head and a body that is read whole, in all, and between two pieces of one
        that is read in pieces. ``proxied=False`` never uses a proxy. A request is sent again in one case only: on a
        fresh connection, when a kept one turns out to be closed before anything of an answer was read. Raises
        NetworkError.
        """
        parts, target = self._target(url, connect_timeout, proxied)
        sent = self._headers(parts, target, headers or {})
        log = self._wire_log
        if log is not None:
            log.request(method, url, sent, body)
        send = partial(
            self._send_once,
            target,
            method,
            _path(parts),
            tls=parts.scheme == "https",
            headers=sent,
            body=body or None,
            timeout=Timeout(connect=max(connect_timeout, LEAST), read=max(read_timeout, LEAST)),
        )
        response = self._send(send, target)
        if log is not None:
            log.response(url, response.status, response.headers)
            response.on_body = partial(log.response_body, url)
        if response.status == 407 and target.proxy is not None:
            response.close()
            raise refused_by_proxy(407, target)
        return response

    def _target(self, url: str, connect_timeout: float, proxied: bool) -> tuple[SplitResult, RequestTarget]:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or PORTS.get(parts.scheme)
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if not host or not port or parts.scheme not in PORTS or parts.username is not None:
            raise NetworkError(
                "The address of a request is not of the form http(s)://host[:port]/path.",
                reason=NetworkReason.CONNECT,
                remedy="Correct the endpoint in the settings.",
                passing=False,
            )
        proxy = None
        if proxied:
            proxy = proxy_for(
                scheme=parts.scheme,
                host=host,
                port=port,
                setting=self._options.proxy,
                environment=self._options.environment,
                setting_name=self._options.proxy_origin,
            )
        endpoint = self._options.endpoints.get(f"{host}:{port}", "")
        trusted = trusted_file(self._options.ca_bundle, self._options.environment)
        may_be_proxied = proxied and not is_loopback(host)
        return parts, RequestTarget(host, port, proxy, connect_timeout, endpoint, trusted, may_be_proxied)

    def _headers(self, parts: SplitResult, target: RequestTarget, headers: Mapping[str, str]) -> dict[str, str]:
        host = f"[{target.host}]" if ":" in target.host else target.host
        named = host if PORTS[parts.scheme] == target.port else f"{host}:{target.port}"
        ours = {"Host": named, "User-Agent": self._options.user_agent, "Accept-Encoding": "identity"}
        # A proxy that makes a tunnel is told when that is made; this one reads the request itself.
        if target.proxy is not None and parts.scheme == "http" and target.proxy.authorization:
            ours["Proxy-Authorization"] = target.proxy.authorization
        given = {name.lower() for name in headers}
        return {name: value for name, value in ours.items() if name.lower() not in given} | {**headers}

    def _send(self, send: Callable[[], Response], target: RequestTarget) -> Response:
        if self._open.closed:
            raise NetworkError("The HTTP client is closed.", reason=NetworkReason.BROKEN)
        try:
            try:
                return send()
            except BROKEN as error:
                # A kept connection was closed under a request, before any byte of its answer.
                if not any(isinstance(cause, NothingReadError) and cause.reused for cause in causes(error)):
                    raise
            return send()  # urllib3 connects anew in the place of one that failed
        except BROKEN as error:
            raise network_error(error, target) from error

    def _send_once(self, target: RequestTarget, method: str, path: str, *, tls: bool, **options: Any) -> Response:  # noqa: ANN401
        manager = self._manager(target.proxy, tls=tls)
        pool = manager.connection_from_host(target.host, target.port, "https" if tls else "http")
        answer = pool.urlopen(
            method, path, retries=False, redirect=False, preload_content=False, decode_content=False, **options
        )
        connection = answer.connection
        assert isinstance(connection, LimitedConnection)
        return Response(answer, target, limits=connection.limits, rate=self._options.minimum_rate)

    def _manager(self, proxy: Proxy | None, *, tls: bool) -> PoolManager:
        with self._making:
            found = self._managers.get((proxy, tls))
            if found is None:
                found = self._managers[(proxy, tls)] = self._new_manager(proxy, tls)
            return found

    def _new_manager(self, proxy: Proxy | None, tls: bool) -> PoolManager:
        options: dict[str, Any] = {"maxsize": PER_HOST, "socket_options": HTTPConnection.default_socket_options}
        if self._context is None and (tls or (proxy is not None and proxy.url.startswith("https:"))):
            self._context = make_context(self._options.ca_bundle, self._options.environment)
        if tls:
            options["ssl_context"] = self._context
        if proxy is None:
            manager = PoolManager(**options)
        else:
            manager = ProxyManager(
                proxy.url,
                proxy_headers={"Proxy-Authorization": proxy.authorization} if proxy.authorization else {},
                proxy_ssl_context=self._context,
                use_forwarding_for_https=not tls,
                **options,
            )
        pools: dict[str, Any] = {
            "http": partial(Pool, watch=self._open),
            "https": partial(TlsPool, watch=self._open),
        }
        manager.pool_classes_by_scheme = pools
        return manager

    def close(self) -> None:
        """Close all connections for good; what other threads wait for fails at once.

        Only a thread that is just connecting goes on, until it is connected or its time is over.
        """
        self._open.end()
        with self._making:
            managers = list(self._managers.values())
        for manager in managers:
            keys = manager.pools.keys()  # a copy: it cannot be iterated over itself
            for key in keys:
                manager.pools[key].close()


def _path(parts: SplitResult) -> str:
    # A path such as /bucket/a/../b is the name of an object, and was signed: nothing in it is put straight.
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return quote(path, safe=PLAIN, errors="surrogatepass")
