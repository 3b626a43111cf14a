"""HTTP requests through proxies and with certificates, each sent once, with errors that say what to do."""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from urllib3 import PoolManager, ProxyManager, Timeout
from urllib3 import exceptions as urllib3_errors

from agent import __version__
from agent.network.connections import HttpPool, HttpsPool, NothingReadError, OpenConnections
from agent.network.errors import NetworkError, NetworkReason
from agent.network.explain import Target, explain, refused_by_proxy
from agent.network.proxies import Proxy, proxy_for
from agent.network.response import Response
from agent.network.tls import make_context
from agent.network.wire_log import WireLog

if TYPE_CHECKING:
    import ssl

    from urllib3 import BaseHTTPResponse, HTTPConnectionPool

__all__ = ["HttpClient", "HttpOptions", "NetworkError", "NetworkReason", "Response"]

PORTS = {"http": 80, "https": 443}
PER_HOST = 16
"""Idle connections kept for each host: as many as download side by side."""

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


class HttpClient:
    """Connections that are kept and used again; may be used by several threads at once."""

    def __init__(self, options: HttpOptions = DEFAULTS, *, wire_log: WireLog | None = None) -> None:
        self._options = options
        self._wire_log = wire_log
        self._open = OpenConnections()
        self._managers: dict[tuple[Proxy | None, bool], PoolManager] = {}
        # What an idle agent asks for again and again is found here: for it, working it out is a tenth of the cost.
        self._pools: dict[tuple[str, Target], HTTPConnectionPool] = {}
        self._targets: dict[tuple[str, float, float, bool], tuple[SplitResult, Target]] = {}
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
        found = self._targets.get(wanted)
        if found is None:
            if len(self._targets) >= PER_HOST:
                self._targets.clear()
            found = self._targets[wanted] = self._target(*wanted)
        parts, target = found
        sent = self._headers(parts, target, headers)
        arguments = {
            "body": body or None,
            "headers": sent,
            "timeout": Timeout(connect=connect_timeout, read=read_timeout),
        }
        if self._wire_log is not None:
            self._wire_log.request(method, url, sent, body)
        raw = self._send(method, parts, target, arguments)
        if self._wire_log is not None:
            self._wire_log.response(url, raw.status, raw.headers)
        if raw.status == 407 and target.proxy is not None:
            raw.close()
            raise refused_by_proxy(407, target)
        on_body = None if self._wire_log is None else partial(self._wire_log.response_body, url, raw.headers)
        return Response(raw, target, on_body=on_body)

    def _target(
        self, url: str, connect_timeout: float, read_timeout: float, proxied: bool
    ) -> tuple[SplitResult, Target]:
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
        return parts, Target(host, port, proxy, connect_timeout, read_timeout)

    def _headers(self, parts: SplitResult, target: Target, headers: Mapping[str, str] | None) -> dict[str, str]:
        host = f"[{target.host}]" if ":" in target.host else target.host
        named = host if PORTS[parts.scheme] == target.port else f"{host}:{target.port}"
        sent = {"Host": named, "User-Agent": self._options.user_agent, "Accept-Encoding": "identity"}
        given = dict(headers or {})
        lower = {name.lower() for name in given}
        return {name: value for name, value in sent.items() if name.lower() not in lower} | given

    def _send(self, method: str, parts: SplitResult, target: Target, arguments: dict[str, Any]) -> BaseHTTPResponse:
        for attempt in (1, 2):
            if self._open.closed:
                raise NetworkError("The HTTP client is closed.", reason=NetworkReason.BROKEN)
            try:
                return self._send_once(method, parts, target, arguments)
            except (urllib3_errors.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
                if attempt == 1 and _is_stale(error):
                    self._forget()
                    continue
                raise explain(error, target) from error
        raise AssertionError("unreachable")

    def _send_once(
        self, method: str, parts: SplitResult, target: Target, arguments: dict[str, Any]
    ) -> BaseHTTPResponse:
        # Through the pool and not the manager: the manager would rewrite a path such as /bucket/a/../b, which is the
        # name of an object, after it was signed.
        pool = self._pools.get((parts.scheme, target))
        if pool is None:
            manager = self._manager(target.proxy, tls=parts.scheme == "https")
            pool = manager.connection_from_host(target.host, target.port, parts.scheme)
            self._pools[(parts.scheme, target)] = pool
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        forwarded = target.proxy is not None and parts.scheme == "http"
        return pool.urlopen(
            method,
            f"http://{arguments['headers']['Host']}{path}" if forwarded else path,
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
            enforce_content_length=True,
            **arguments,
        )

    def _manager(self, proxy: Proxy | None, *, tls: bool) -> PoolManager:
        tls = tls or (proxy is not None and proxy.url.startswith("https:"))
        with self._making:
            found = self._managers.get((proxy, tls))
            if found is None:
                found = self._managers[(proxy, tls)] = self._new_manager(proxy, tls)
            return found

    def _new_manager(self, proxy: Proxy | None, tls: bool) -> PoolManager:
        options: dict[str, Any] = {"maxsize": PER_HOST, "block": False}
        if tls:
            if self._context is None:
                self._context = make_context(self._options.ca_bundle, self._options.environment)
            options["ssl_context"] = self._context
        if proxy is None:
            manager = PoolManager(**options)
        else:
            wanted = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
            manager = ProxyManager(proxy.url, proxy_headers=wanted, proxy_ssl_context=self._context, **options)
        # urllib3 hands what a pool does not know on to its connections.
        pools: dict[str, Any] = {
            "http": partial(HttpPool, watch=self._open),
            "https": partial(HttpsPool, watch=self._open),
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
        """Let go of every kept connection."""
        self._pools.clear()
        self._managers.clear()


def _is_stale(error: BaseException) -> bool:
    """Tell whether a kept connection was closed under a request, before any byte of its answer."""
    found = error.args[-1] if isinstance(error, urllib3_errors.ProtocolError) and error.args else error
    return isinstance(found, NothingReadError) and found.reused
