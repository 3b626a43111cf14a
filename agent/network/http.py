"""HTTP requests through proxies and with certificates, each sent once, with errors that say what to do."""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from urllib3 import PoolManager, ProxyManager
from urllib3 import exceptions as urllib3_errors

from agent import __version__
from agent.network.answer import NothingReadError
from agent.network.connections import OpenConnections, Pool, TlsPool, WatchedConnection
from agent.network.errors import NetworkError, NetworkReason
from agent.network.explain import Target, explain, refused_by_proxy
from agent.network.proxies import Proxy, proxy_for
from agent.network.response import Response
from agent.network.route import PORTS, Request, Route
from agent.network.tls import make_context
from agent.network.wire_log import WireLog

if TYPE_CHECKING:
    import ssl

__all__ = ["HttpClient", "HttpOptions", "NetworkError", "NetworkReason", "Response"]

ROUTES_KEPT = 16
"""URLs for which a client remembers how they are reached."""

# urllib3 writes URLs to its log, and a redirected download bears its token there.
logging.getLogger("urllib3").setLevel(logging.WARNING)


class HttpOptions(NamedTuple):
    """How this host reaches others.

    ``proxy`` wins over the environment and may carry ``user:password@``. ``ca_bundle`` is a PEM file. Of
    ``environment`` HTTPS_PROXY, HTTP_PROXY and NO_PROXY (see ``proxies``), AWS_CA_BUNDLE, SSL_CERT_FILE and
    AWS_SSL_CA_DIRECTORY (see ``tls``) are read; nothing else is.
    """

    proxy: str | None = None
    ca_bundle: str | None = None
    environment: Mapping[str, str] = MappingProxyType({})
    user_agent: str = f"codedeploy-host-agent/{__version__}"

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
        self._pools: set[Pool] = set()
        self._routes: dict[tuple[str, float, float, bool], Route] = {}
        self._context: ssl.SSLContext | None = None
        self._making = threading.Lock()

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
        """Send one request and give its answer, whatever its status; redirects are not followed.

        The times are in seconds: to connect (including TLS), and between two pieces of the answer. ``proxied=False``
        never uses a proxy. A request is sent again in one case only: on a fresh connection, when a kept one turns
        out to be closed before anything of an answer was read. Raises NetworkError.
        """
        wanted = (url, connect_timeout, read_timeout, proxied)
        route = self._routes.get(wanted)
        if route is None:
            if len(self._routes) >= ROUTES_KEPT:
                self._routes.clear()
            route = self._routes[wanted] = self._route(*wanted)
        request = route.request(method, headers or {}, body)
        log = self._wire_log
        if log is not None:
            log.request(method, url, request.sent, body)
        response = self._send(route, request)
        if log is not None:
            log.response(url, response.status, response.headers)
            response.on_body = partial(log.response_body, url)
        if response.status == 407 and route.target.proxy is not None:
            response.close()
            raise refused_by_proxy(407, route.target)
        return response

    def _route(self, url: str, connect_timeout: float, read_timeout: float, proxied: bool) -> Route:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or PORTS.get(parts.scheme)
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if not host or not port or parts.scheme not in PORTS or parts.username is not None:
            raise NetworkError(
                "A URL that is asked for is not of the form http(s)://host[:port]/path.", reason=NetworkReason.CONNECT
            )
        proxy = None
        if proxied:
            proxy = proxy_for(
                scheme=parts.scheme,
                host=host,
                port=port,
                setting=self._options.proxy,
                environment=self._options.environment,
            )
        return Route(parts, Target(host, port, proxy, connect_timeout, read_timeout), self._options.user_agent)

    def _send(self, route: Route, request: Request) -> Response:
        try:
            pool = self._pool(route)
            try:
                return self._send_once(pool.take(), pool, route, request)
            except NothingReadError as error:
                # A kept connection was closed under a request, before any byte of its answer.
                if not error.reused:
                    raise
            self._forget()
            return self._send_once(None, pool, route, request)
        except BROKEN as error:
            raise explain(error, route.target) from error

    def _send_once(self, kept: WatchedConnection | None, pool: Pool, route: Route, request: Request) -> Response:
        if self._open.closed:
            raise NetworkError("The HTTP client is closed.", reason=NetworkReason.BROKEN)
        target = route.target
        connection = kept or pool.fresh(target.connect_timeout, tunnel=route.tunnel)
        try:
            answer = connection.exchange(request.method, request.written, timeout=target.read_timeout)
        except BaseException:
            connection.close()
            raise
        return Response(answer, target, connection=connection, pool=pool)

    def _pool(self, route: Route) -> Pool:
        if route.pool is None:
            target = route.target
            manager = self._manager(target.proxy, tls=route.tls)
            found = manager.connection_from_host(target.host, target.port, "https" if route.tls else "http")
            assert isinstance(found, Pool)
            self._pools.add(found)
            route.pool = found
        return route.pool

    def _manager(self, proxy: Proxy | None, *, tls: bool) -> PoolManager:
        tls = tls or (proxy is not None and proxy.url.startswith("https:"))
        with self._making:
            found = self._managers.get((proxy, tls))
            if found is None:
                found = self._managers[(proxy, tls)] = self._new_manager(proxy, tls)
            return found

    def _new_manager(self, proxy: Proxy | None, tls: bool) -> PoolManager:
        options: dict[str, Any] = {"maxsize": 1}  # what it would keep itself
        if tls:
            if self._context is None:
                self._context = make_context(self._options.ca_bundle, self._options.environment)
            options["ssl_context"] = self._context
        if proxy is None:
            manager = PoolManager(**options)
        else:
            wanted = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
            manager = ProxyManager(proxy.url, proxy_headers=wanted, proxy_ssl_context=self._context, **options)
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
        self._forget()

    def _forget(self) -> None:
        """Let go of every connection that nobody uses."""
        for pool in list(self._pools):
            pool.forget()
