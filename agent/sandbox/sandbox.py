"""The sandbox put together: one process, one URL."""

from __future__ import annotations

import secrets
import socket
import threading
from typing import NamedTuple

from agent.sandbox import listening as listening_on
from agent.sandbox.certificates import make_tls_identity
from agent.sandbox.engine.engine import Engine
from agent.sandbox.engine.records import Scope
from agent.sandbox.envelopes import EnvelopeSigner
from agent.sandbox.metadata import MetadataApp
from agent.sandbox.wire.app import App
from agent.sandbox.wire.command_service import CommandServiceApi
from agent.sandbox.wire.control import Control
from agent.sandbox.wire.faults import Faults
from agent.sandbox.wire.journal import CallJournal
from agent.sandbox.wire.metadata_control import MetadataControl
from agent.sandbox.wire.moto_side import MotoSide
from agent.sandbox.wire.server import Server

_TICK = 0.5  # seconds between two looks at the time limits
_LAST_ANSWERS = 2.0  # seconds at the end for requests that are being answered


class SandboxAccess(NamedTuple):
    """What a user needs to reach the sandbox; the secrets are new at every start."""

    url: str
    region: str
    account: str
    access_key_id: str
    secret_access_key: str
    token: str

    def __repr__(self) -> str:
        """Show everything but the secrets."""
        return f"SandboxAccess(url={self.url!r}, access_key_id={self.access_key_id!r})"


class Sandbox:
    """A running sandbox; its state is in memory only and ends with it."""

    def __init__(
        self, *, listen: str = "127.0.0.1", port: int = 0, tls: bool = False, scope: Scope | None = None
    ) -> None:
        scope = scope or Scope()
        listening = listening_on.listen(listen, port)
        moto = MotoSide(scope)
        self._engine = Engine(scope, ec2=moto.running_instances)
        self.signer = EnvelopeSigner.make()
        journal, faults, token = CallJournal(), Faults(), secrets.token_urlsafe(30)
        metadata = MetadataApp()
        app = App(
            self._engine,
            moto,
            commands=CommandServiceApi(self._engine, self.signer, journal, faults),
            control=Control(self._engine, journal, faults, MetadataControl(scope, metadata, moto), token=token),
            metadata=metadata,
        )
        local, remote = listening_on.local_host(listening), listening_on.remote_hosts(listening)
        identity = make_tls_identity([local, *remote, "localhost", socket.gethostname()]) if tls else None
        self.ca_pem = identity.ca_pem if identity else None
        self._server = Server(listening, app, tls=identity.context if identity else None)
        urls = [
            f"{'https' if tls else 'http'}://{listening_on.in_url(host)}:{self._server.port}"
            for host in (local, *remote)
        ]
        self.urls_elsewhere = urls[1:]
        access_key, secret = moto.make_administrator()
        self.access = SandboxAccess(urls[0], scope.region, scope.account, access_key, secret, token)
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.05,), name="server", daemon=True),
            threading.Thread(target=self._watch_limits, name="limits", daemon=True),
        ]

    def start(self) -> None:
        """Begin to answer; returns at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Answer the polls that wait, and end; connections that are open are closed with the process."""
        self._over.set()
        self._engine.close()
        self._server.shutdown()
        self._server.wait_until_quiet(_LAST_ANSWERS)
        self._server.server_close()
        for thread in self._threads:
            thread.join()

    def _watch_limits(self) -> None:
        while not self._over.wait(_TICK):
            self._engine.tick()
