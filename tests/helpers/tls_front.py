"""TLS in front of a plain http server: agents on other hosts accept nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from agent.sandbox.certificates import make_tls_identity


@contextlib.contextmanager
def tls_front(address: str, port: int, *, behind: int) -> Iterator[str]:
    """Pass on what comes to an address by TLS to a port of it; return the certificate authority in PEM.

    All sockets are of the network namespace that this is entered in.
    """
    identity = make_tls_identity([address])
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(address, behind)
        await asyncio.gather(_pass_on(reader, server_writer), _pass_on(server_reader, writer))

    starting = asyncio.start_server(serve, address, port, ssl=identity.context)
    server = loop.run_until_complete(starting)
    thread = threading.Thread(target=loop.run_forever, name="tls-front", daemon=True)
    thread.start()
    try:
        yield identity.ca_pem
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
