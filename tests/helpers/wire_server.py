"""A small HTTP(S) server on loopback that answers as a test says, faults included, and records what it was asked.

    with running_server() as server:
        server.will(Answer(status=500), Answer(body=b"{}"))     # in this order; then server.otherwise
        client.request("GET", server.url + "/x")
        assert server.requests[0].target == "/x"

Over TLS: ``authority = Authority(tmp_path)``, ``running_server(tls=authority.server_context("localhost"))`` and
``authority.path`` as the CA bundle.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import NamedTuple

from waiting import until

JSON = MappingProxyType({"Content-Type": "application/x-amz-json-1.1"})

HALF_A_HANDSHAKE = b"\x16\x03\x03\x40\x00" + bytes(400)
"""The beginning of a TLS record that announces more."""


class Answer(NamedTuple):
    """What to do with one request.

    ``announce`` is the Content-Length if it is to differ from the body's; ``cut`` sends only so many bytes of the
    body and closes; ``hang_up`` closes without an answer, ``reset`` with a TCP reset; ``close_after`` closes the
    connection after the answer without having said so; ``wait`` holds the answer back until the event is set, and
    ``pause`` the body; ``raw`` is sent in the place of a head and a body. With ``drip`` only so many bytes are sent
    at once, and the rest one by one.
    """

    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""
    announce: int | None = None
    cut: int | None = None
    hang_up: bool = False
    reset: bool = False
    close_after: bool = False
    chunked: bool = False
    wait: threading.Event | None = None
    pause: threading.Event | None = None
    raw: bytes | None = None
    drip: int | None = None


class Request(NamedTuple):
    """A request as it came; names of headers in lower case, ``names`` as they were written and in their order.

    ``first_read`` is what the first read brought, ``connection`` counts connections from 1.
    """

    method: str
    target: str
    headers: dict[str, str]
    names: list[str]
    body: bytes
    first_read: bytes
    connection: int
    server_name: str | None


class WireServer:
    """Answers one request after the other on each connection, each connection in a thread of its own."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> None:
        self.requests: list[Request] = []
        self.otherwise: Answer | Callable[[Request], Answer] = Answer()
        self.connections = 0
        self._planned: list[Answer] = []
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._names: dict[int, str | None] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.arrived = threading.Condition()
        if tls is not None:
            tls.sni_callback = self._note_name
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        host = f"[{address}]" if ":" in address else address
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def will(self, *answers: Answer) -> None:
        """Give these answers next, in this order."""
        self._planned += answers

    def wait_for(self, count: int) -> None:
        """Wait until so many requests have come."""
        until(lambda: len(self.requests) >= count, lambda: f"request {count}; {len(self.requests)} came")

    def close(self) -> None:
        """Close the listener and all connections, and wait for the threads."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()
        for thread in self._threads:
            thread.join(10)

    def drop_connections(self) -> None:
        """Close every connection now, as a server does that restarts."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def say(self, data: bytes) -> None:
        """Send this on every connection, though nobody asked."""
        with self._lock:
            for connection in self._open:
                connection.sendall(data)

    def _note_name(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        self._names[id(connection)] = name

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket, number: int) -> None:
        connection = plain
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._open.discard(plain)
                    self._open.add(connection)
            name = self._names.get(id(connection))
            while (request := self._read(connection, number, name)) is not None:
                if not self._answer(connection, request):
                    return
        except OSError:
            return
        finally:
            with self._lock:
                self._open.discard(connection)
                self._open.discard(plain)
            connection.close()

    def _read(self, connection: socket.socket, number: int, name: str | None) -> Request | None:
        first = received = connection.recv(1 << 20)
        while b"\r\n\r\n" not in received:
            more = connection.recv(1 << 20)
            if not more:
                return None
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        pairs = [line.split(": ", 1) if ": " in line else [line.rstrip(":"), ""] for line in lines[1:]]
        headers = {key.lower(): value for key, value in pairs}
        while len(body) < int(headers.get("content-length", "0")):
            body += connection.recv(1 << 20)
        method, target, _ = lines[0].split(" ")
        return Request(method, target, headers, [key for key, _ in pairs], body, first, number, name)

    def _answer(self, connection: socket.socket, request: Request) -> bool:
        with self.arrived:
            self.requests.append(request)
            answer = self._planned.pop(0) if self._planned else self.otherwise
            self.arrived.notify_all()
        if not isinstance(answer, Answer):
            answer = answer(request)
        if answer.wait is not None:
            self._hold(answer.wait)
        if answer.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if answer.hang_up or answer.reset:
            return False
        if answer.drip is not None:
            data = _head(answer) + _body(answer) if answer.raw is None else answer.raw
            connection.sendall(data[: answer.drip])
            drip(connection, data[answer.drip :])
            return not answer.close_after
        if answer.raw is not None:
            connection.sendall(answer.raw)
            return not answer.close_after
        connection.sendall(_head(answer))
        if answer.pause is not None:
            self._hold(answer.pause)
        if request.method != "HEAD":
            connection.sendall(_body(answer))
        return answer.cut is None and not answer.close_after

    def _hold(self, event: threading.Event) -> None:
        while not event.wait(0.05) and not self._closing.is_set():
            continue


def drip(connection: socket.socket, data: bytes) -> None:
    """Send byte after byte, with a pause after each, until the peer closes the connection."""
    for number in range(len(data)):
        connection.sendall(data[number : number + 1])
        time.sleep(0.05)


def _body(answer: Answer) -> bytes:
    body = answer.body if answer.cut is None else answer.body[: answer.cut]
    if answer.chunked:
        body = b"%x\r\n%s\r\n" % (len(answer.body), body) + (b"0\r\n\r\n" if answer.cut is None else b"")
    return body


def _head(answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} Because"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    if answer.chunked:
        lines.append("Transfer-Encoding: chunked")
    elif answer.status not in (204, 304):
        lines.append(f"Content-Length: {len(answer.body) if answer.announce is None else answer.announce}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@contextmanager
def running_server(*, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> Iterator[WireServer]:
    """Run a server on a free port for the length of a block."""
    server = WireServer(tls=tls, address=address)
    try:
        yield server
    finally:
        server.close()


class Authority:
    """An issuer of certificates of its own; ``path`` is its certificate as a PEM file."""

    def __init__(self, directory: str | os.PathLike[str], name: str = "test authority") -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self._directory = os.fspath(directory)
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._count = 0
        self.path = os.path.join(self._directory, f"{name.replace(' ', '-')}.pem")
        certificate = self._certify(name, self._key.public_key(), None, 0, 1)
        with open(self.path, "wb") as file:
            file.write(certificate)

    def _certify(self, name, key, names: list[str] | None, since: float, until: float) -> bytes:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.x509.oid import NameOID

        from agent.sandbox.certificates import key_usage

        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)]),
            subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now + datetime.timedelta(days=since, minutes=-10),
            not_valid_after=now + datetime.timedelta(days=until),
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
        # From Python 3.13 on, a certificate must name the key that signed it, and say what its own is for.
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        builder = builder.add_extension(signer, critical=False)
        builder = builder.add_extension(key_usage(is_ca=names is None), critical=True)
        if names is not None:
            alternatives = x509.SubjectAlternativeName([_alternative(each) for each in names])
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def server_context(self, *names: str, since: float = 0, until: float = 1) -> ssl.SSLContext:
        """Make the context of a server with a certificate for these names, valid between two days from now."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        plain = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        pem += self._certify(names[0], key.public_key(), list(names), since, until)
        self._count += 1
        path = os.path.join(self._directory, f"server-{self._count}-{self._name.replace(' ', '-')}.pem")
        with open(path, "wb") as file:
            file.write(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _alternative(name: str):
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
