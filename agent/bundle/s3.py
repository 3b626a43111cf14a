"""Fetch a bundle from S3: signed, in ranges, checked by length, ETag and checksum, whole or not at all."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from functools import partial

from agent.bundle.download_retries import DownloadRetries
from agent.bundle.fetch import (
    DamagedError,
    FetchOptions,
    ObjectReplacedError,
    PartialFile,
    Progress,
    ProgressReporter,
    TransientError,
)
from agent.bundle.ranges import Fetched, download
from agent.bundle.s3_address import REGION, Address
from agent.bundle.s3_errors import explain, read_fault
from agent.bundle.streams import CHUNK
from agent.deployment.spec import S3Revision
from agent.errors import BundleError
from agent.network.errors import NetworkError
from agent.network.http import Response

MOST_REDIRECTS = 3

_CHECKSUM_HEADER = "x-amz-checksum-"
_MULTIPART_ETAG = re.compile(r"[0-9a-fA-F]{32}-[0-9]+")

_log = logging.getLogger(__name__)


def fetch_s3(
    revision: S3Revision,
    destination: str,
    *,
    options: FetchOptions,
    progress: Progress | None = None,
    mode: int = 0o644,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Bring an object from S3 to ``destination``, with this mode; give its ETag without quotes.

    The file appears under its name when it is whole: its length is right, its ETag is the revision's where that has
    one, and it fits the checksum that S3 keeps, where that is a CRC32, SHA-1 or SHA-256 of the whole object. A
    broken connection is resumed, passing faults are tried again with growing pauses, a bucket of another region is
    asked there. An object that is replaced meanwhile, or comes damaged, is fetched once more from the start.
    ``progress`` is called from this thread. Raises BundleError, after which an older file stands.
    """
    source = S3Object(revision, options)
    with PartialFile(destination, name=source.name, mode=mode) as file:
        try:
            fetched = _fetch(source, file, revision, progress, sleep)
        except NetworkError as error:
            raise BundleError(f"{source.name} cannot be fetched: {error.message}", remedy=error.remedy) from error
        file.keep()
    return _bare(fetched.etag)


def _fetch(
    source: S3Object,
    file: PartialFile,
    revision: S3Revision,
    progress: Progress | None,
    sleep: Callable[[float], None],
) -> Fetched:
    def check(etag: str) -> None:
        _check_etag(revision, etag, source.name)

    retries = partial(DownloadRetries, source.name, sleep, rate=source.minimum_rate)
    for is_last in (False, True):
        reporter = ProgressReporter(source.name, progress)
        try:
            fetched = download(source, file, reporter=reporter, retries=retries, check=check)
            file.cut(fetched.size)
            _check_content(source, file.descriptor, fetched, retries())
        except (ObjectReplacedError, DamagedError) as error:
            if is_last:
                raise
            _log.warning("%s It is fetched once more", error.message)
            continue
        reporter.ended(fetched.size)
        break
    return fetched


class S3Object:
    """One object, and how it is asked for; the first answers may change where."""

    def __init__(self, revision: S3Revision, options: FetchOptions) -> None:
        self._revision = revision
        self._options = options
        self.minimum_rate = options.http.minimum_rate
        if not REGION.fullmatch(options.region):
            raise BundleError(
                f"s3://{revision.bucket}/{revision.key} cannot be fetched: {options.region!r} is not an AWS region.",
                remedy="Give one such as eu-west-1, in AWS_REGION or in the on-premises file.",
            )
        self._address = Address(options.region, options.domain, options.s3_endpoint, options.fips)
        self._url = self._address.url(revision.bucket, revision.key, revision.version)
        self.name = f"s3://{revision.bucket}/{revision.key}"
        if revision.version:
            self.name += f" (version {revision.version})"

    def open(self, start: int, end: int | None, etag: str) -> Response:
        """Ask for a range: see ``ranges.Source``."""
        headers = {"x-amz-checksum-mode": "ENABLED"}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        return self._ask("GET", headers, etag)

    def head(self, etag: str) -> Mapping[str, str]:
        """The headers of the whole object. Raises as ``open`` does."""
        with self._ask("HEAD", {"x-amz-checksum-mode": "ENABLED"}, etag) as response:
            return response.headers

    def _ask(self, method: str, headers: dict[str, str], etag: str) -> Response:
        if etag:
            headers["If-Match"] = etag
        region = self._address.region
        for _ in range(MOST_REDIRECTS + 1):
            response = self._send(method, headers)
            if response.status in (200, 206, 416):
                return response
            location = response.headers.get("Location", "")
            fault = read_fault(response)
            if fault.status == 307 and location and self._address.may_lead_to(location):
                self._url = location
                continue
            if fault.other_region and self._address.region == region != fault.other_region:
                self._move(fault.other_region)
                continue
            break
        if fault.status == 412:
            raise ObjectReplacedError(
                f"{self.name} was replaced while it was being downloaded.", remedy="Deploy again."
            )
        error = explain(
            fault,
            self._revision,
            name=self.name,
            region=self._address.region,
            signed=self._options.credentials is not None,
        )
        raise TransientError(error.message, remedy=error.remedy) if fault.is_transient else error

    def _move(self, region: str) -> None:
        _log.info("%s lies in %s and not in %s", self.name, region, self._address.region)
        self._address = self._address._replace(region=region)
        self._url = self._address.url(self._revision.bucket, self._revision.key, self._revision.version)

    def _send(self, method: str, headers: Mapping[str, str]) -> Response:
        credentials = self._options.credentials
        if credentials is not None:
            from agent.network.signing import sign  # GitHub and local bundles do without

            headers = sign(
                method,
                self._url,
                headers=headers,
                body=b"",
                credentials=credentials(),
                service="s3",
                region=self._address.region,
            )
        return self._options.http.request(method, self._url, headers=headers, read_timeout=self._options.stall)


def _bare(etag: str) -> str:
    return etag.strip().removeprefix("W/").strip('"')


def _check_etag(revision: S3Revision, etag: str, name: str) -> None:
    if not revision.etag or _bare(revision.etag) == _bare(etag):
        return
    found, expected = _bare(etag)[:80], _bare(revision.etag)
    if not found:
        raise BundleError(
            f"{name} came without an ETag, so it may be another object than the revision's, whose ETag is {expected}.",
            remedy="Find out which proxy or server removes the header ETag, or register the revision without one.",
        )
    raise BundleError(
        f"{name} is another object than the revision's: its ETag is {found}, and {expected} was expected.",
        remedy="It was replaced after the revision was registered: register it again, or deploy another revision.",
    )


def _check_content(source: S3Object, descriptor: int, fetched: Fetched, download_retries: DownloadRetries) -> None:
    """Compare what was written with the checksum that S3 keeps. Raises DamagedError."""
    headers = fetched.headers
    if not fetched.at_once:
        # The checksum of an answer with a range may be that of a part of the upload.
        try:
            headers = download_retries.run(lambda: source.head(fetched.etag))
        except ObjectReplacedError:
            raise
        except (BundleError, NetworkError) as error:
            _log.debug("%s: its checksum is not known: %s", source.name, error)
            return
    offered = _usable(headers, fetched.etag)
    if offered is None:
        return
    algorithm, expected = offered
    found = _digest(descriptor, algorithm)
    if found != expected:
        raise DamagedError(
            f"{source.name} came damaged: its {algorithm.upper()} is {found}, and S3 keeps {expected}.",
            remedy="Deploy again; if it stays so, something on the way changes what it passes on.",
        )
    _log.debug("%s has the right %s", source.name, algorithm.upper())


def _usable(headers: Mapping[str, str], etag: str) -> tuple[str, str] | None:
    """Return the algorithm and the base64 value of a checksum over the whole object, or None.

    Servers other than S3 may leave out the type. The ETag shows a multipart upload, and such a checksum is then one of
    the parts' checksums.
    """
    kind = headers.get("x-amz-checksum-type", "").upper()
    composite = kind == "COMPOSITE" or (not kind and _MULTIPART_ETAG.fullmatch(_bare(etag)) is not None)
    for algorithm in ("sha256", "sha1", "crc32"):
        value = headers.get(_CHECKSUM_HEADER + algorithm, "").strip()
        if not value:
            continue
        if composite or "-" in value:
            _log.debug("The %s of the object is a checksum of its parts' checksums, and is not compared", algorithm)
            continue
        return algorithm, value
    return None


def _digest(descriptor: int, algorithm: str) -> str:
    import binascii
    import hashlib
    import zlib

    size = os.fstat(descriptor).st_size
    crc, hashed = 0, None if algorithm == "crc32" else hashlib.new(algorithm)
    for offset in range(0, size, CHUNK):
        piece = os.pread(descriptor, CHUNK, offset)
        if hashed is None:
            crc = zlib.crc32(piece, crc)
        else:
            hashed.update(piece)
    digest = crc.to_bytes(4, "big") if hashed is None else hashed.digest()
    return binascii.b2a_base64(digest, newline=False).decode()
