"""An instance metadata service like EC2's, strict about session tokens, as a WSGI application."""

from __future__ import annotations

import hmac
import json
import re
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

from agent.network.credentials import Credentials
from agent.sandbox.metadata_tree import Directory, MetadataInstance, tree_of

LONGEST_TOKEN_SECONDS = 21600
"""Six hours, as EC2's service."""

_TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
_VERSION = re.compile(r"latest|1\.0|20[0-9]{2}-[01][0-9]-[0-3][0-9]")
_VERSIONS = ("1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest")

__all__ = ["Credentials", "MetadataApp", "MetadataInstance"]


class _StartResponse(Protocol):
    def __call__(self, status: str, headers: list[tuple[str, str]], /) -> object: ...


class _Answer(NamedTuple):
    status: HTTPStatus
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class MetadataApp:
    """Answers each client as the instance that it was added for, by the client's address.

    A question needs a token that this service gave to the same instance (IMDSv2); ``allow_v1`` lets questions
    without any token through, too, for all instances. ``clock`` gives seconds, and never goes back. The rules are
    those of the EC2 user guide, "Use the Instance Metadata Service to access instance metadata". May be mounted
    anywhere: only PATH_INFO counts.
    """

    def __init__(self, *, allow_v1: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.allow_v1 = allow_v1
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._instances: dict[str | None, MetadataInstance] = {}

    def add(self, instance: MetadataInstance, *, address: str | None = None) -> None:
        """Answer a client of this address as this instance; None: every client that has no instance of its own."""
        self._instances = {**self._instances, address: instance}

    def remove(self, address: str | None = None) -> None:
        """Know no instance for this address any more."""
        self._instances = {known: found for known, found in self._instances.items() if known != address}

    @staticmethod
    def answers(path: str) -> bool:
        """Tell whether a path is one of this service's, for a server that offers other things beside it."""
        return _VERSION.fullmatch(path.lstrip("/").split("/")[0]) is not None

    def __call__(self, environ: Mapping[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        answer = self._answer(environ)
        headers = [
            ("Content-Type", "text/plain"),
            ("Content-Length", str(len(answer.body))),
            ("Server", "EC2ws"),
            *answer.headers,
        ]
        start_response(f"{answer.status.value} {answer.status.phrase}", headers)
        return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else answer.body]

    def _answer(self, environ: Mapping[str, Any]) -> _Answer:
        address = str(environ.get("REMOTE_ADDR", ""))
        instance = self._instances.get(address) or self._instances.get(None)
        if instance is None:
            return _refusal(HTTPStatus.NOT_FOUND)
        method, path = environ.get("REQUEST_METHOD", "GET"), str(environ.get("PATH_INFO", ""))
        if method == "PUT":
            return self._give_token(environ, path, instance)
        if method not in ("GET", "HEAD"):
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        token = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN")
        left = self._seconds_left(str(token), instance) if token is not None else 0
        if left <= 0 and (token is not None or not (self.allow_v1 or instance.allow_v1)):
            return _refusal(HTTPStatus.UNAUTHORIZED)
        found = _look_up(path, instance)
        if found is None:
            return _refusal(HTTPStatus.NOT_FOUND)
        return _Answer(HTTPStatus.OK, found, ((_TTL_HEADER, str(left)),) if token is not None else ())

    def _give_token(self, environ: Mapping[str, Any], path: str, instance: MetadataInstance) -> _Answer:
        if path != "/latest/api/token":
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED if _look_up(path, instance) else HTTPStatus.NOT_FOUND)
        if "HTTP_X_FORWARDED_FOR" in environ:
            return _refusal(HTTPStatus.FORBIDDEN)
        desired = str(environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS", ""))
        if not re.fullmatch(r"[0-9]{1,5}", desired) or not 1 <= int(desired) <= LONGEST_TOKEN_SECONDS:
            return _refusal(HTTPStatus.BAD_REQUEST)
        ends = f"{self._clock() + int(desired):.3f}"
        token = urlsafe_b64encode(self._seal(ends, instance) + ends.encode())
        return _Answer(HTTPStatus.OK, token, ((_TTL_HEADER, desired),))

    def _seconds_left(self, token: str, instance: MetadataInstance) -> int:
        """Tell how long a token is still good; 0 or less for one that has ended or is not this instance's."""
        try:
            data = urlsafe_b64decode(token.encode())
            ends = data[32:].decode("ascii")
        except ValueError:
            return 0
        if not hmac.compare_digest(data[:32], self._seal(ends, instance)):
            return 0
        left = float(ends) - self._clock()
        return max(int(left), 1) if left > 0 else 0

    def _seal(self, ends: str, instance: MetadataInstance) -> bytes:
        return hmac.digest(self._key, f"{instance.instance_id} {ends}".encode(), "sha256")


def _look_up(path: str, instance: MetadataInstance) -> bytes | None:
    """Find what a path leads to; a directory gives the list of its entries. A slash at the end is no matter."""
    version, _slash, rest = path.lstrip("/").partition("/")
    if not version:
        return "\n".join(_VERSIONS).encode()
    if not _VERSION.fullmatch(version):
        return None
    found: object = tree_of(instance)
    for part in rest.rstrip("/").split("/") if rest.strip("/") else ():
        if not isinstance(found, Directory) or part not in found.entries:
            return None
        found = found.entries[part]
    if isinstance(found, Directory):
        return found.listing().encode()
    content = found() if callable(found) else found
    if isinstance(content, Mapping):
        return json.dumps(content, indent=2).encode()
    return content if isinstance(content, bytes) else str(content).encode()


def _refusal(status: HTTPStatus) -> _Answer:
    return _Answer(status, f"{status.value} - {status.phrase}\n".encode())
