"""The certificates of a signed message: which one is the signer's, and what it says of itself."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm

from agent.trust.ber import Element
from agent.trust.cms import SignedMessage, issued
from agent.trust.errors import TrustError, damaged

UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    InternalError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the cryptography package raises for certificates and signatures that are malformed or unknown to it."""


def load(encoded: bytes) -> x509.Certificate:
    """Read a certificate in DER. Raises TrustError."""
    try:
        return x509.load_der_x509_certificate(encoded)
    except UNREADABLE as error:
        raise damaged(f"a certificate in it cannot be read ({printable(str(error))})") from error


def signer_certificate(message: SignedMessage) -> Element:
    """The one certificate of the message that the signer names. Raises TrustError where none or several fit."""
    found = [certificate for certificate in message.certificates if _is_named(certificate, message)]
    if len(found) != 1:
        raise damaged(f"{len(found) or 'none'} of its certificates and not one fits what the signer names")
    return found[0]


def _is_named(certificate: Element, message: SignedMessage) -> bool:
    signer = message.signer
    if signer.issued is not None:
        return issued(certificate) == signer.issued
    return key_identifier(certificate) == signer.key_identifier


def key_identifier(certificate: Element) -> bytes | None:
    """The subject key identifier, None where a certificate has none."""
    try:
        extensions = load(bytes(certificate.encoded)).extensions
        return extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return None
    except UNREADABLE as error:
        raise damaged(f"a certificate in it cannot be read ({printable(str(error))})") from error


def fingerprint(certificate: Element) -> str:
    """The SHA-256 digest of the whole certificate, in lower-case hexadecimal."""
    return hashlib.sha256(certificate.encoded).hexdigest()


def why_not_valid(certificate: x509.Certificate, now: float) -> str:
    """Why a certificate does not count at this time, as a clause; empty where it does."""
    moment = datetime.fromtimestamp(now, UTC)
    try:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except UNREADABLE:
        return "does not say until when it is valid"
    if moment < begin:
        return f"is not valid before {begin:%Y-%m-%d %H:%M} UTC"
    if moment > end:
        return f"expired at {end:%Y-%m-%d %H:%M} UTC"
    return ""


def check_validity(certificate: x509.Certificate, now: float) -> None:
    """Raise TrustError where the signer's certificate does not count at this time."""
    if reason := why_not_valid(certificate, now):
        raise TrustError(
            f"The certificate of the signer, {subject(certificate)}, {reason}.",
            remedy="See that this host's clock is right. If it is, pin the certificate that the service uses now.",
        )


def subject(certificate: x509.Certificate) -> str:
    """Whom a certificate is for, as text that may be logged."""
    return _shown(certificate, issuer=False)


def issuer(certificate: x509.Certificate) -> str:
    """Who has issued a certificate, as text that may be logged."""
    return _shown(certificate, issuer=True)


def _shown(certificate: x509.Certificate, *, issuer: bool) -> str:
    try:
        name = certificate.issuer if issuer else certificate.subject
        return f'"{printable(name.rfc4514_string())}"'
    except UNREADABLE:
        return "(a name that cannot be read)"


def printable(text: str) -> str:
    """The beginning of a stranger's text, on one line."""
    return "".join(character if character.isprintable() else "?" for character in text[:200])
