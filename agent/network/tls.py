"""Whose certificates are trusted: a given bundle, the environment's, or the system's."""

from __future__ import annotations

import glob
import os
import ssl
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from agent.network.errors import NetworkError, NetworkReason

KNOWN_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where distributions keep their certificates, for an OpenSSL that was built to look elsewhere."""


class TrustedFile(NamedTuple):
    """A PEM file, and the setting or variable that names it."""

    path: str
    origin: str


class LimitedTlsSocket(ssl.SSLSocket):
    """A TLS socket whose timeout is for all that it does until the next one is set, as in a handshake within it."""

    _until: float | None = None

    def settimeout(self, value: float | None) -> None:
        """Allow so many seconds from now on."""
        super().settimeout(value)
        self._until = None if value is None else time.monotonic() + value

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive within the time that is left."""
        self._use_what_is_left()
        return super().recv(buflen, flags)

    def send(self, data: Any, flags: int = 0) -> int:  # noqa: ANN401 - any buffer
        """Send within the time that is left; ``sendall`` does it with this."""
        self._use_what_is_left()
        return super().send(data, flags)

    def _use_what_is_left(self) -> None:
        if self._until is not None:
            left = self._until - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            super().settimeout(left)


def make_context(ca_bundle: str | None, environment: Mapping[str, str]) -> ssl.SSLContext:
    """Make the context of all TLS connections: TLS 1.2 or later, the issuer and the name are checked.

    The first of these that is set says whom to trust: ``ca_bundle``, AWS_CA_BUNDLE, SSL_CERT_FILE (each a PEM file,
    in place of the system's certificates), AWS_SSL_CA_DIRECTORY (its ``*.pem`` files, beside the system's). Raises
    NetworkError for a file that cannot be read or holds no certificate.
    """
    # Not ssl.create_default_context: from Python 3.13 on it refuses certificates that lack what RFC 5280 asks of an
    # issuer, and those that inspecting proxies make often do.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.sslsocket_class = LimitedTlsSocket
    named = trusted_file(ca_bundle, environment)
    if named is not None:
        _load(context, named)
        return context
    _load_system(context)
    directory = environment.get("AWS_SSL_CA_DIRECTORY")
    for path in sorted(glob.glob(os.path.join(glob.escape(directory), "*.pem"))) if directory else ():
        _load(context, TrustedFile(path, "AWS_SSL_CA_DIRECTORY"))
    return context


def trusted_file(ca_bundle: str | None, environment: Mapping[str, str]) -> TrustedFile | None:
    """Return the PEM file that is trusted in the place of the system's certificates, None for these."""
    if ca_bundle:
        return TrustedFile(ca_bundle, "ca_bundle")
    for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
        if environment.get(name):
            return TrustedFile(environment[name], name)
    return None


def _load(context: ssl.SSLContext, file: TrustedFile) -> None:
    try:
        context.load_verify_locations(cafile=file.path)
    except ssl.SSLError as error:
        raise _unusable(file, "holds no certificates in PEM form") from error
    except OSError as error:
        raise _unusable(file, f"cannot be read: {error.strerror}") from error


def _unusable(file: TrustedFile, problem: str) -> NetworkError:
    return NetworkError(
        f"The certificate file {file.path} that {file.origin} names {problem}.",
        reason=NetworkReason.TLS,
        remedy="Name a PEM file with the certificates of the issuers to trust, or none to trust the system's.",
    )


def _load_system(context: ssl.SSLContext) -> None:
    paths = ssl.get_default_verify_paths()
    directory = paths.capath
    if directory and glob.glob(os.path.join(glob.escape(directory), "*.0")):
        # A directory with hashed names is searched for the one issuer that is needed; a bundle is held in memory whole.
        context.load_verify_locations(capath=directory)
        return
    if paths.cafile:
        context.load_default_certs()
        return
    for path in KNOWN_BUNDLES:
        if os.path.isfile(path):
            context.load_verify_locations(cafile=path)
            return
