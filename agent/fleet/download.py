"""Fetch a wheelhouse from an https or S3 address of the user's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from agent.deployment.spec import BundleType, S3Revision
from agent.filesystem.durable import write_all
from agent.fleet.errors import SourceError, SourceUsageError
from agent.fleet.wheelhouse import LARGEST
from agent.network.http import HttpClient, HttpOptions

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5


def download(source: str, destination: str, *, region: str | None = None, proxy: str | None = None) -> None:
    """Fetch ``https://...`` or ``s3://bucket/key`` into a new file.

    Proxies and certificates are those of the environment, except that ``proxy`` wins; S3 is asked with the
    credentials and in the region that ``codedeploy-local`` would use. What comes is not trusted yet. Raises
    SourceError, NetworkError and whatever fetching from S3 raises (all AgentErrors).
    """
    client = HttpClient(HttpOptions(proxy=proxy, proxy_origin="--proxy", environment=os.environ))
    try:
        if source.startswith("https://"):
            _fetch_https(client, source, destination)
        elif source.startswith("s3://"):
            _fetch_s3(client, source, destination, region)
        else:
            raise SourceUsageError(
                f"The source begins with {source.partition('://')[0]}://, and https:// or s3:// was expected.",
                remedy="Fetch it yourself and name the file.",
            )
    finally:
        client.close()


def public_url(url: str) -> str:
    """Return an address without what may be secret in it: user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _fetch_https(client: HttpClient, url: str, destination: str) -> None:
    for _ in range(_MOST_REDIRECTS):
        with client.request("GET", url) as response:
            if response.status in _REDIRECTS:
                url = urljoin(url, response.headers.get("Location", ""))
                if not url.startswith("https://"):
                    raise SourceError(f"The source leads on to {public_url(url)}, which is not https.")
                continue
            if response.status != 200:
                raise SourceError(
                    f"{public_url(url)} answered with status {response.status}, and 200 was expected.",
                    remedy="A signed address may have expired.",
                )
            _save(response.chunks(), destination)
            return
    raise SourceError(f"The source was led on more than {_MOST_REDIRECTS} times, last to {public_url(url)}.")


def _save(chunks: Iterator[bytes], destination: str) -> None:
    descriptor = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > LARGEST:
                raise SourceError(f"The source has more than {LARGEST} bytes; is this the right file?")
            write_all(descriptor, chunk)
    finally:
        os.close(descriptor)


def _fetch_s3(client: HttpClient, url: str, destination: str, region: str | None) -> None:
    from agent.bundle.s3 import fetch_s3  # heavy, like what finds credentials, and only needed here
    from agent.config.file import load
    from agent.runtime.remote import local_fetch_options

    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise SourceUsageError(f"{url} names no object.", remedy="Write s3://BUCKET/KEY.")
    revision = S3Revision(bucket, key, BundleType.TGZ)
    options = local_fetch_options(load().settings, revision, http=client, region=region)
    fetch_s3(revision, destination, options=options, progress=lambda *_: None)
