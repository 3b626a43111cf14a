"""A server of objects that can do what a faultless one never does: break off, stall, lie, move, replace.

    with running_server() as server:
        server.objects["/bucket/key"] = StoredObject(b"...")
        server.faults.append(Fault(when=2, cut_after=1000))     # the second request for bytes

Requests are noted in ``server.requests`` in their order.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from wire_server import drip


class StoredObject:
    """Content with its ETag and further headers of the answer."""

    def __init__(self, content: bytes, *, etag: str | None = None, headers: dict[str, str] | None = None) -> None:
        self.content = content
        self.etag = f'"{hashlib.md5(content).hexdigest()}"' if etag is None else etag
        self.headers = headers or {}


class Fault(NamedTuple):
    """What goes wrong with the GETs numbered ``first`` to ``last``, from 1; the fields say what.

    ``cut_after`` bytes of the body the connection is closed, or goes silent with ``stall``, or brings the rest one byte
    at a time with ``drip``; ``status`` with
    ``body`` and ``headers`` stands in place of the answer; ``act`` is called before.
    """

    first: int
    last: int
    cut_after: int | None = None
    stall: bool = False
    drip: bool = False
    status: int = 0
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    act: Callable[[], None] | None = None


class Request(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]


class ObjectServer:
    """The state of one server."""

    def __init__(self) -> None:
        self.url = ""
        self.objects: dict[str, StoredObject] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.honours_ranges = True
        self.honours_if_match = True
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._gets = 0

    def note(self, request: Request) -> list[Fault]:
        """Remember a request; give the faults that it meets."""
        with self._lock:
            self.requests.append(request)
            self._gets += request.method == "GET"
            met = [
                fault for fault in self.faults if request.method == "GET" and fault.first <= self._gets <= fault.last
            ]
        for fault in met:
            if fault.act is not None:
                fault.act()
        return met

    def sent(self, name: str) -> list[str]:
        """The values of one header in all requests; "" where it was missing."""
        return [request.headers.get(name.lower(), "") for request in self.requests]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: ObjectServer

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        faults = self.state.note(Request(self.command, self.path, headers))
        refusal = next((fault for fault in faults if fault.status), None)
        if refusal is not None:
            self._answer(refusal.status, dict(refusal.headers), refusal.body)
            return
        found = self.state.objects.get(self.path)
        if found is None:
            self._answer(404, {}, b"<Error><Code>NoSuchKey</Code><Message>The key is not there.</Message></Error>")
            return
        asked = headers.get("if-match", found.etag) if self.state.honours_if_match else found.etag
        if asked != found.etag or headers.get("if-match", "").startswith("W/"):
            self._answer(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        self._send(found, headers, next((fault for fault in faults if fault.cut_after is not None), None))

    do_HEAD = do_GET  # noqa: N815

    def _send(self, found: StoredObject, headers: dict[str, str], cut: Fault | None) -> None:
        size = len(found.content)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        given = {"ETag": found.etag, **found.headers} if found.etag else dict(found.headers)
        if asked is None or not self.state.honours_ranges:
            self._answer(200, given, found.content, cut)
            return
        start, end = int(asked[1]), min(int(asked[2] or size), size - 1)
        if start >= size:
            self._answer(416, {"Content-Range": f"bytes */{size}"}, b"<Error><Code>InvalidRange</Code></Error>")
            return
        given["Content-Range"] = f"bytes {start}-{end}/{size}"
        self._answer(206, given, found.content[start : end + 1], cut)

    def _answer(self, status: int, headers: dict[str, str], body: bytes, cut: Fault | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut is None or cut.cut_after is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[: cut.cut_after])
        self.wfile.flush()
        if cut.drip:
            drip(self.connection, body[cut.cut_after :])
        if cut.stall:
            self.state.stopped.wait()
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave early are no news."""


@contextmanager
def running_server() -> Iterator[ObjectServer]:
    """A server on a free port of this host."""
    state = ObjectServer()
    handler = type("Handler", (_Handler,), {"state": state})
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield state
        finally:
            state.stopped.set()
            server.shutdown()
            thread.join()
