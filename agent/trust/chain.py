"""The way from a signer's certificate to a certificate that the operator has named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID

from agent.trust.certificates import UNREADABLE, issuer, subject, why_not_valid
from agent.trust.errors import TrustError

MAX_CHAIN = 6
"""Issuers above a signer that are looked for; public authorities have two or three."""

MAX_CA_FILE = 4 << 20
"""Bytes of a CA file; a system's list of all public authorities has about 250 thousand."""

# Extensions that may be critical. With any other one, a certificate means something that is not looked at here.
_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.CERTIFICATE_POLICIES,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}
_DIGESTS = ("sha256", "sha384", "sha512")


def load_ca_file(path: str) -> list[x509.Certificate]:
    """Read the certificates of a PEM file. Raises TrustError for a file that is missing, too large, or none."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_CA_FILE + 1)
        if len(data) > MAX_CA_FILE:
            raise ValueError(f"it has more than {MAX_CA_FILE} bytes")
        return x509.load_pem_x509_certificates(data)
    except (OSError, *UNREADABLE) as error:
        raise TrustError(
            f"The file {path} of deployment_signer_ca_file cannot be used: {error}.",
            remedy="Put certificates in PEM form there, readable to the agent.",
        ) from error


def check_chain(
    signer: x509.Certificate, *, embedded: Iterable[x509.Certificate], anchors: Sequence[x509.Certificate], now: float
) -> None:
    """Raise TrustError unless certificates lead from the signer to one of the anchors, or it is one of them.

    ``embedded`` are those that came with the message. Each issuer on the way must be a certificate authority that is
    valid ``now``, in seconds since the epoch, and must really have signed the one below it.
    """
    if reason := _why_no_signer(signer):
        raise _refused(signer, reason)
    if signer in anchors:
        return
    # From below, level by level: each certificate is reached by its shortest way, so none needs a second look.
    unused = list(dict.fromkeys([*anchors, *embedded]))
    level, reasons = [signer], [f"nobody there is {issuer(signer)}, who issued it"]
    for below in range(MAX_CHAIN):
        above = []
        for candidate in unused:
            children = [child for child in level if _names(child, candidate)]
            why = [_why_no_issuer(child, candidate, below=below, now=now) for child in children]
            if not all(why):
                above.append(candidate)
            reasons += [f"{subject(candidate)} {reason}" for reason in why if reason]
        if any(candidate in anchors for candidate in above):
            return
        reasons += [f"nobody there is {issuer(candidate)}" for candidate in above]
        unused = [candidate for candidate in unused if candidate not in above]
        level = above
    raise _refused(signer, reasons[-1])


def _refused(signer: x509.Certificate, reason: str) -> TrustError:
    return TrustError(
        f"The deployment specification is signed by {subject(signer)}, "
        f"and nothing leads from there to a certificate of deployment_signer_ca_file: {reason}.",
        remedy="Nothing was downloaded or run. If the service has a new certificate, add its authority to the file.",
    )


def _names(child: x509.Certificate, candidate: x509.Certificate) -> bool:
    try:
        return child.issuer == candidate.subject
    except UNREADABLE:
        return False


def _why_no_signer(certificate: x509.Certificate) -> str:
    try:
        extensions = certificate.extensions
        usage = _key_usage(extensions)
    except UNREADABLE:
        return "its extensions cannot be read"
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        return "its key is not meant for signatures"
    return _why_not_understood(extensions)


def _why_no_issuer(child: x509.Certificate, candidate: x509.Certificate, *, below: int, now: float) -> str:
    """Why a certificate has not rightly issued another, as a clause.

    ``below`` counts the certificates between it and the signer's.
    """
    try:
        extensions = candidate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        usage, key, digest = _key_usage(extensions), candidate.public_key(), child.signature_hash_algorithm
        if not constraints.ca or (usage is not None and not usage.key_cert_sign):
            return "is not a certificate authority"
        if constraints.path_length is not None and below > constraints.path_length:
            return f"allows {constraints.path_length} authorities below it"
        if reason := _why_not_understood(extensions) or why_not_valid(candidate, now):
            return reason
        if digest is None or digest.name not in _DIGESTS or not _strong(key):
            return "has a weak key, or has signed with a weak digest"
        child.verify_directly_issued_by(candidate)
    except x509.ExtensionNotFound:
        return "is not a certificate authority"
    except (InvalidSignature, *UNREADABLE):
        return "has the name of the issuer but has not signed it"
    return ""


def _key_usage(extensions: x509.Extensions) -> x509.KeyUsage | None:
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _why_not_understood(extensions: x509.Extensions) -> str:
    unknown = [found.oid.dotted_string for found in extensions if found.critical and found.oid not in _UNDERSTOOD]
    return f"has a critical extension, {unknown[0]}, that this agent does not evaluate" if unknown else ""


def _strong(key: object) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return 2048 <= key.key_size <= 8192
    return isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= 256
