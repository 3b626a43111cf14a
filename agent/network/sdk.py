"""Clients of the AWS SDK that send through the agent's own HTTP client: its proxies, certificates, timeouts, wire log.

Slow to import: only for what calls S3 or a load balancer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import botocore.credentials  # type: ignore[import-untyped]
import botocore.loaders  # type: ignore[import-untyped]
import botocore.session  # type: ignore[import-untyped]
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from agent.network.credentials import Credentials
from agent.network.errors import NetworkError
from agent.network.http import HttpClient
from agent.network.response import Response

LARGEST_ANSWER = 16 * 1024 * 1024
LARGEST_ERROR = 64 * 1024

# The agent names all that counts: a profile or a file of the user that runs it changes nothing.
_NOTHING_FROM_FILES = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}

_Loader = botocore.loaders.Loader
_MODELS = _Loader(extra_search_paths=[_Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
"""Read once for all clients of a process: that of S3 takes a tenth of a second."""


def send_through(client: Any, http: HttpClient, *, connect_timeout: float = 10.0, read_timeout: float = 30.0) -> None:  # noqa: ANN401
    """Let a client send its requests as the agent sends its own; each parsed answer gets the network's ``Response``."""

    def send(request: Any, **_: Any) -> Any:  # noqa: ANN401 - botocore has no types
        headers = {
            name: value.decode("latin-1") if isinstance(value, bytes) else value
            for name, value in request.headers.items()
            if name.lower() != "user-agent"
        }
        response = http.request(
            request.method,
            request.url,
            headers=headers,
            body=request.body or b"",
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
        )
        return AWSResponse(request.url, response.status, response.headers, _Body(response))

    def keep(http_response: Any, parsed: dict[str, Any], **_: Any) -> None:  # noqa: ANN401
        parsed["Response"] = http_response.raw.response

    client.meta.events.register("before-send", send)
    client.meta.events.register("after-call", keep)


class _Body:
    """The body of an answer, which botocore reads only where it parses it."""

    def __init__(self, response: Response) -> None:
        self.response = response

    def stream(self) -> Iterator[bytes]:
        is_error = self.response.status >= 300
        try:
            with self.response:
                yield self.response.read(LARGEST_ERROR if is_error else LARGEST_ANSWER)
        except NetworkError:
            if not is_error:  # whose status says enough, whatever came in place of a document
                raise


def make_session(credentials: Callable[[], Credentials] | None) -> Any:  # noqa: ANN401
    """Return a session that reads no file or profile of the AWS tools; without credentials its clients do not sign.

    Credentials are asked for at each signature.
    """
    session = botocore.session.Session(session_vars=_NOTHING_FROM_FILES)
    session.register_component("data_loader", _MODELS)
    if credentials is None:
        session.set_default_client_config(Config(signature_version=UNSIGNED))
    else:
        session.register_component("credential_provider", _Provider(credentials))
    return session


class _Provider(botocore.credentials.Credentials):  # type: ignore[misc]
    """Credentials as botocore finds and reads them, taken anew for each signature."""

    def __init__(self, credentials: Callable[[], Credentials]) -> None:
        super().__init__("", "")
        self.get_frozen_credentials = credentials

    def load_credentials(self) -> _Provider:
        return self
