"""Fetch a bundle from S3: signed, in ranges, checked by length, ETag and checksum, whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import time
import zlib
from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

from agent.bundle.download_retries import DownloadRetries
from agent.bundle.fetch import (
    DamagedError,
    FetchOptions,
    ObjectReplacedError,
    PartialFile,
    Progress,
    ProgressReporter,
)
from agent.bundle.ranges import Fetched, download
from agent.bundle.s3_errors import explain, printable
from agent.bundle.streams import CHUNK
from agent.deployment.spec import S3Revision
from agent.errors import BundleError
from agent.network.errors import NetworkError
from agent.network.http import Response
from agent.network.partitions import domain_of, is_region
from agent.network.sdk import make_session, send_through

_CHECKSUM_HEADER = "x-amz-checksum-"
_MULTIPART_ETAG = re.compile(r"[0-9a-fA-F]{32}-[0-9]+")
_HASHES = ("sha512", "sha256", "sha1", "md5")
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
    """One object, and the SDK's client that asks for it; its first answers may change where."""

    def __init__(self, revision: S3Revision, options: FetchOptions) -> None:
        self._revision = revision
        self._signed = options.credentials is not None
        self._region = options.region
        self._endpoint = options.s3_endpoint
        self.minimum_rate = options.http.minimum_rate
        self.name = f"s3://{revision.bucket}/{revision.key}"
        if revision.version:
            self.name += f" (version {revision.version})"
        if not is_region(options.region):
            raise BundleError(
                f"s3://{revision.bucket}/{revision.key} cannot be fetched: {options.region!r} is not an AWS region.",
                remedy="Set AWS_REGION, or the region in the on-premises file, such as eu-west-1.",
            )
        self._client = make_session(options.credentials).create_client(
            "s3", options.region, endpoint_url=options.s3_endpoint, config=_client_config(options)
        )
        send_through(self._client, options.http, read_timeout=options.stall)
        self._client.meta.events.register("before-sign.s3", self._note_region)
        self._client.meta.events.register_first("needs-retry.s3", self._follow)

    def open(self, start: int, end: int | None, etag: str) -> Response:
        """Ask for a range: see ``ranges.Source``."""
        if start or end is not None:
            return self._ask("get_object", etag, Range=f"bytes={start}-{'' if end is None else end - 1}")
        return self._ask("get_object", etag)

    def head(self, etag: str) -> Mapping[str, str]:
        """Return the headers of the whole object. Raises as ``open`` does."""
        with self._ask("head_object", etag) as response:
            return response.headers

    def _ask(self, operation: str, etag: str, **arguments: str) -> Response:
        if etag:
            arguments["IfMatch"] = etag
        if self._revision.version:
            arguments["VersionId"] = self._revision.version
        ask = getattr(self._client, operation)
        try:
            answer = ask(Bucket=self._revision.bucket, Key=self._revision.key, ChecksumMode="ENABLED", **arguments)
        except ClientError as error:
            answer = error.response
            if answer["Response"].status != 416:
                raise self._explained(answer) from error
        except (BotoCoreError, ResponseParserError, ValueError) as error:
            remedy = "Check the revision's bucket, key and version."
            if isinstance(error, ResponseParserError):
                remedy = "Check s3_endpoint_override, and whether a proxy answers in the place of S3."
            raise BundleError(f"{self.name} cannot be fetched: {printable(str(error))}.", remedy=remedy) from error
        response: Response = answer["Response"]
        return response

    def _explained(self, answer: Mapping[str, Any]) -> BundleError:
        if answer["Response"].status == 412:
            return ObjectReplacedError(
                f"{self.name} was replaced while it was being downloaded.", remedy="Deploy again."
            )
        place = f"S3 in {self._region} refused {self.name}"
        return explain(answer, self._revision, place=place, partition=self._client.meta.partition, signed=self._signed)

    def _note_region(self, region_name: str, **_: object) -> None:
        if region_name != self._region:
            _log.info("%s lies in %s and not in %s", self.name, region_name, self._region)
            self._region = region_name

    def _follow(self, request_dict: dict[str, Any], response: Any, **_: object) -> int | None:  # noqa: ANN401
        """Send a request on, once, to where a 307 leads; botocore itself follows only those that name a region."""
        if response is None or response[0].status_code != 307 or "x-amz-bucket-region" in response[0].headers:
            return None
        redirect = request_dict["context"].setdefault("s3_redirect", {})
        location = response[0].headers.get("Location", "")
        if redirect.get("redirected") or not self._may_lead_to(location, request_dict["url"]):
            return None
        redirect["redirected"] = True
        request_dict["url"] = location
        return 0

    def _may_lead_to(self, location: str, url: str) -> bool:
        to, own = urlsplit(location), urlsplit(url)
        if to.scheme != own.scheme or not to.hostname or to.username is not None:
            return False
        if self._endpoint:
            return to.hostname == own.hostname
        return to.hostname.endswith(f".{domain_of(self._region)}")


def _client_config(options: FetchOptions) -> Config:
    common = {"retries": {"total_max_attempts": 1}, "ignore_configured_endpoint_urls": True}
    # An endpoint of another server names the bucket in the path, and has no FIPS or dual-stack twin.
    if options.s3_endpoint:
        path = {"addressing_style": "path"}
        return Config(s3=path, use_fips_endpoint=False, use_dualstack_endpoint=False, **common)
    return Config(s3={"us_east_1_regional_endpoint": "regional"}, use_fips_endpoint=options.fips or None, **common)


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
    for name in headers:
        algorithm = name.lower().removeprefix(_CHECKSUM_HEADER)
        value = headers[name].strip()
        if algorithm in ("type", name.lower()) or not value:
            continue
        if composite or "-" in value:
            _log.debug("The %s of the object is a checksum of its parts' checksums, and is not compared", algorithm)
        elif algorithm not in (*_HASHES, *_crcs()):
            _log.debug("The %s of the object cannot be computed on this host, and is not compared", algorithm)
        else:
            return algorithm, value
    return None


def _digest(descriptor: int, algorithm: str) -> str:
    pieces = (os.pread(descriptor, CHUNK, offset) for offset in range(0, os.fstat(descriptor).st_size, CHUNK))
    if algorithm in _crcs():
        update, length = _crcs()[algorithm]
        digest = reduce(lambda crc, piece: update(piece, crc), pieces, 0).to_bytes(length, "big")
    else:
        hashed = hashlib.new(algorithm)
        for piece in pieces:
            hashed.update(piece)
        digest = hashed.digest()
    return base64.b64encode(digest).decode()


def _crcs() -> dict[str, tuple[Callable[[bytes, int], int], int]]:
    """Return what computes each CRC on this host, with the bytes of its value."""
    found: dict[str, tuple[Callable[[bytes, int], int], int]] = {"crc32": (zlib.crc32, 4)}
    try:
        from awscrt import checksums  # type: ignore[import-not-found,import-untyped,unused-ignore]  # few hosts have it

        found |= {"crc32c": (checksums.crc32c, 4), "crc64nvme": (checksums.crc64nvme, 8)}
    except (ImportError, AttributeError):
        pass
    return found
