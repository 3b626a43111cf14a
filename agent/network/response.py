"""An answer, read whole or piece by piece, and never beyond what the reader allows."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType

from urllib3 import BaseHTTPResponse
from urllib3 import exceptions as urllib3_errors

from agent.network.answer import AnswerLimits, MinimumRate
from agent.network.errors import NetworkError, NetworkReason
from agent.network.explain import RequestTarget, network_error

PIECE = 64 * 1024


class Response:
    """The answer to one request; its body is still to come.

    ``headers`` is case-insensitive; ``on_body`` is called with them and with a body that was read whole. Read it, or
    close it: a connection whose answer was read to its end is used again.
    """

    def __init__(
        self, answer: BaseHTTPResponse, target: RequestTarget, *, limits: AnswerLimits, rate: MinimumRate
    ) -> None:
        self.status: int = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self._answer = answer
        self._target = target
        self._limits = limits
        self._rate = rate
        self.on_body: Callable[[Mapping[str, str], bytes], None] | None = None

    def read(self, limit: int = 1 << 20) -> bytes:
        """Return the whole body, of at most ``limit`` bytes, within the time that the request allows in all.

        Raises NetworkError when it is larger or later, breaks off or is shorter than announced.
        """
        announced = self._answer.length_remaining  # 0 for HEAD, whose Content-Length is that of another answer
        if announced is not None and announced > limit:
            self.close()
            raise self._too_large(limit)
        body = bytearray()
        for piece in self._pieces(PIECE):
            body += piece
            if len(body) > limit:
                self.close()
                raise self._too_large(limit)
        if self.on_body is not None:
            self.on_body(self.headers, bytes(body))
        return bytes(body)

    def _too_large(self, limit: int) -> NetworkError:
        return NetworkError(
            f"The answer of {self._target.way} is larger than {limit} bytes.",
            reason=NetworkReason.TOO_LARGE,
            remedy="Check that the URL leads to the service itself and not to some other site.",
        )

    def chunks(self, size: int = 262144) -> Iterator[bytes]:
        """Yield the body in pieces of ``size`` bytes, the last one shorter, for as long as they come at the least rate.

        Raises NetworkError when it breaks off, is too slow or shorter than announced. Leaving early closes the
        connection.
        """
        self._limits.stream(self._rate)
        yield from self._pieces(size)

    def _pieces(self, size: int) -> Iterator[bytes]:
        try:
            while piece := self._piece(size):
                yield piece
                # Where the length was announced, the end shows without asking for more.
                if self._answer.length_remaining == 0:
                    break
        finally:
            self.close()

    def _piece(self, size: int) -> bytes:
        try:
            piece = self._answer.read(size, decode_content=False)
        except (urllib3_errors.HTTPError, http.client.HTTPException, OSError) as error:
            raise network_error(error, self._target) from error
        self._limits.content()
        return piece

    def close(self) -> None:
        """End it, read or not; a connection whose answer was not read to its end is closed."""
        self._answer.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
