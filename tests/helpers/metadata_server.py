"""An instance metadata service on a free port of this machine, with faults that a test can order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.validate import validator

from agent.sandbox.metadata import Credentials, MetadataApp, MetadataInstance

ROLE_KEYS = Credentials("ASIAROLEKEY", "role-secret", "role-token", 4_000_000_000.0)
INSTANCE = MetadataInstance(
    "i-0abcdef1234567890", region="eu-west-1", role="WebServer", credentials=lambda: ROLE_KEYS, domain="amazonaws.com"
)


TOKEN_PATH = "/latest/api/token"


class Asked(NamedTuple):
    """A request that came in."""

    method: str
    path: str
    token: str | None


class MetadataServer:
    """``app`` is the service; ``faults`` maps a path to a status and body, or to None: then no answer comes."""

    def __init__(self, app: MetadataApp, url: str) -> None:
        self.app = app
        self._checked = validator(app)
        self.url = url
        self.faults: dict[str, tuple[str, bytes] | None] = {}
        self.asked: list[Asked] = []
        self.over = threading.Event()

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        token = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN")
        self.asked.append(Asked(environ["REQUEST_METHOD"], path, token))
        if path not in self.faults:
            return self._checked(environ, start_response)
        fault = self.faults[path]
        if fault is None:
            self.over.wait()
            fault = ("503 Over", b"")
        start_response(fault[0], [("Content-Length", str(len(fault[1])))])
        return [fault[1]]

    def tokens_given(self) -> int:
        """Count the requests for a token."""
        return sum(asked.method == "PUT" for asked in self.asked)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def running_metadata(
    instance: MetadataInstance = INSTANCE, *, allow_v1: bool = False, clock: Callable[[], float] | None = None
) -> Iterator[MetadataServer]:
    """Run the service for as long as the block does, on loopback."""
    app = MetadataApp(allow_v1=allow_v1) if clock is None else MetadataApp(allow_v1=allow_v1, clock=clock)
    app.add(instance)
    held: list[MetadataServer] = []
    with make_server("127.0.0.1", 0, lambda *args: held[0](*args), _Server, _Handler) as server:
        held.append(MetadataServer(app, f"http://127.0.0.1:{server.server_port}"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield held[0]
        finally:
            held[0].over.set()
            server.shutdown()
            thread.join()
