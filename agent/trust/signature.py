"""The mathematics of a signature: which algorithms count, and whether they hold."""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from agent.trust.ber import CONSTRUCTED, INTEGER, integer
from agent.trust.certificates import UNREADABLE, printable
from agent.trust.cms import Algorithm, Fields, Signer, algorithm
from agent.trust.errors import TrustError, damaged

SMALLEST_RSA_KEY, LARGEST_RSA_KEY = 2048, 8192
"""Bits. Smaller keys can be broken; larger ones cost a sender nothing and this host much."""

# SHA-1 is among them because the service has signed with it; see digest_name for when it counts.
_DIGESTS = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "1.3.14.3.2.26": "sha1",
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
    "sha1": hashes.SHA1(),
}
_PSS = "1.2.840.113549.1.1.10"
_MGF1 = "1.2.840.113549.1.1.8"
# The digest that a signature algorithm names, None where it leaves that to the signer.
_RSA = {
    "1.2.840.113549.1.1.1": None,
    "1.2.840.113549.1.1.5": "sha1",
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
}
_ECDSA = {
    "1.2.840.10045.4.1": "sha1",
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
}
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def digest_name(found: Algorithm, *, pinned: bool) -> str:
    """The name, as hashlib has it, of the digest that the signer uses.

    SHA-1 counts only where no signer is pinned: then the signature proves that the message is whole, and TLS proves
    from whom it came. Somebody who may choose content for the pinned signer to sign could have two contents with the
    same SHA-1 digest. Raises TrustError for this and for any other digest.
    """
    name = _DIGESTS.get(found.oid)
    if name is None:
        raise damaged(f"its digest algorithm, {found.oid}, is not SHA-256, SHA-384 or SHA-512")
    if name == "sha1" and pinned:
        raise TrustError(
            "The deployment specification is signed with SHA-1, which does not prove who has signed it.",
            remedy="Nothing was downloaded or run. Only without pinned signers is SHA-1 accepted.",
        )
    return name


def check_signature(certificate: x509.Certificate, signer: Signer, *, digest: str, signed: Iterable[bytes]) -> None:
    """Raise TrustError unless the signature fits one of the octets ``signed`` and the certificate's key."""
    try:
        key = certificate.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            holds = _rsa_holds(key, signer, digest, signed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            holds = _ecdsa_holds(key, signer, digest, signed)
        else:
            raise damaged("the key of its signer is neither RSA nor an elliptic curve's")
    except UNREADABLE as error:
        raise damaged(f"its signature cannot be checked ({printable(str(error))})") from error
    if not holds:
        raise damaged("its signature does not fit its content; it was changed, or signed with another key")


def _rsa_holds(key: rsa.RSAPublicKey, signer: Signer, digest: str, signed: Iterable[bytes]) -> bool:
    if not SMALLEST_RSA_KEY <= key.key_size <= LARGEST_RSA_KEY:
        raise damaged(f"its RSA key has {key.key_size} bits and not {SMALLEST_RSA_KEY} to {LARGEST_RSA_KEY}")
    if signer.algorithm.oid == _PSS:
        scheme: padding.AsymmetricPadding = _pss(signer.algorithm, digest)
    else:
        _check_digest(signer.algorithm, _RSA, digest)
        scheme = padding.PKCS1v15()
    for octets in signed:
        try:
            key.verify(signer.signature, octets, scheme, _HASHES[digest])
            return True
        except InvalidSignature:
            continue
    return False


def _ecdsa_holds(key: ec.EllipticCurvePublicKey, signer: Signer, digest: str, signed: Iterable[bytes]) -> bool:
    if key.curve.name not in _CURVES:
        raise damaged(f"its key is on the curve {key.curve.name} and not on P-256, P-384 or P-521")
    _check_digest(signer.algorithm, _ECDSA, digest)
    for octets in signed:
        try:
            key.verify(signer.signature, octets, ec.ECDSA(_HASHES[digest]))
            return True
        except InvalidSignature:
            continue
    return False


def _check_digest(found: Algorithm, known: dict[str, str | None] | dict[str, str], digest: str) -> None:
    if found.oid not in known:
        raise damaged(f"its signature algorithm, {found.oid}, is not one that goes with its key")
    if known[found.oid] not in (None, digest):
        raise damaged("its digest and its signature name different digest algorithms")


def _pss(found: Algorithm, digest: str) -> padding.PSS:
    """The padding of RSASSA-PSS from its parameters (RFC 4055, section 3.1), which must name the signer's digest."""
    if found.parameters is None:
        raise damaged("its signature lacks parameters")
    fields = Fields(found.parameters, "the parameters of the signature")
    tagged = [fields.maybe(0x80 | CONSTRUCTED | number) for number in range(4)]
    fields.done()
    hashed, mask, salt, _trailer = [tag and Fields(tag, "a parameter", identifier=tag.identifier) for tag in tagged]
    used = algorithm(hashed.take(), "the digest of the signature") if hashed else Algorithm("1.3.14.3.2.26", None)
    if _DIGESTS.get(used.oid) != digest:
        raise damaged("its digest and its signature name different digest algorithms")
    mask_digest = _mask_digest(algorithm(mask.take(), "the mask of the signature")) if mask else "sha1"
    salt_length = integer(salt.take(INTEGER), "the salt length of the signature") if salt else 20
    if not 0 <= salt_length <= LARGEST_RSA_KEY // 8:
        raise damaged(f"the salt of its signature has {salt_length} bytes")
    return padding.PSS(mgf=padding.MGF1(_HASHES[mask_digest]), salt_length=salt_length)


def _mask_digest(found: Algorithm) -> str:
    if found.oid != _MGF1 or found.parameters is None:
        raise damaged(f"the mask of its signature, {found.oid}, is not MGF1")
    name = _DIGESTS.get(algorithm(found.parameters, "the mask of the signature").oid)
    if name is None:
        raise damaged("the mask of its signature has an unknown digest")
    return name
