"""An answer, read whole or piece by piece, and never beyond what the reader allows."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType

from agent.network.answer import Answer
from agent.network.connections import Pool, WatchedConnection
from agent.network.errors import NetworkError, NetworkReason
from agent.network.explain import Target, explain

PIECE = 64 * 1024


class Response:
    """The answer to one request; its body is still on the way.

    ``headers`` is case-insensitive; ``on_body`` is called with them and with a body that was read whole. Read it, or
    close it: a connection whose answer was read to its end is used again.
    """

    def __init__(self, answer: Answer, target: Target, *, connection: WatchedConnection, pool: Pool) -> None:
        self.status: int = answer.status
        self.headers: Mapping[str, str] = answer.fields
        self._answer = answer
        self._target = target
        self._connection: WatchedConnection | None = connection
        self._pool = pool
        self.on_body: Callable[[Mapping[str, str], bytes], None] | None = None

    def read(self, limit: int = 1 << 20) -> bytes:
        """Give the whole body, of at most ``limit`` bytes.

        Raises NetworkError when it is larger, breaks off or is shorter than announced.
        """
        announced = self._answer.length  # 0 for HEAD, whose Content-Length is that of another answer
        if announced is not None and announced > limit:
            self.close()
            raise self._too_large(limit)
        body = bytearray()
        for piece in self.chunks(PIECE):
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
        """Give the body in pieces of ``size`` bytes, the last one shorter.

        Raises NetworkError when it breaks off or is shorter than announced. Leaving early closes the connection.
        """
        try:
            while piece := self._piece(size):
                yield piece
                # Where the length was announced, the end shows without asking for more.
                if self._answer.length == 0:
                    break
            if not self._answer.will_close and self._connection is not None:
                connection, self._connection = self._connection, None
                self._pool.give_back(connection)
        finally:
            self.close()

    def _piece(self, size: int) -> bytes:
        try:
            piece = self._answer.read(size)
            if not piece and self._answer.length:
                raise http.client.IncompleteRead(piece, self._answer.length)
        except (http.client.HTTPException, OSError) as error:
            raise explain(error, self._target) from error
        return piece

    def close(self) -> None:
        """End it, read or not; a connection whose answer was not read to its end is closed."""
        self._answer.close()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
