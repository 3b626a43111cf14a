"""Signed messages of every kind, good and bad, made without the code that checks them: with asn1crypto."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

from asn1crypto import algos, cms, core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.x509.oid import NameOID

DOCUMENT = b'{"DeploymentId": "d-7XK2Q9B4T"}'
NOW = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
HASHES = {
    "md5": hashes.MD5(),
    "sha1": hashes.SHA1(),
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@cache
def rsa_key(name: str = "signer", bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key; the same name gives the same one."""
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


@cache
def dsa_key() -> dsa.DSAPrivateKey:
    return dsa.generate_private_key(2048)


class Party(NamedTuple):
    """Somebody with a key and a certificate."""

    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey
    certificate: x509.Certificate

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def party(
    name: str = "signer",
    *,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey | None = None,
    issuer: Party | None = None,
    ca: bool | None = None,
    path_length: int | None = None,
    days: tuple[int, int] = (-30, 30),
    serial: int | None = None,
    usage: Sequence[str] | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    digest: str = "sha256",
) -> Party:
    """Somebody whose certificate is issued by another, or by itself; ``days`` are counted from ``NOW``.

    The same name gives the same key and the same serial number unless others are given.
    """
    key = key or rsa_key(name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.fromtimestamp(NOW, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    if usage is not None:
        builder = builder.add_extension(key_usage(usage), critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return Party(key, builder.sign(issuer.key if issuer else key, HASHES[digest]))


def key_usage(given: Sequence[str]) -> x509.KeyUsage:
    names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"]
    names += ["key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{name: name in given for name in names})


def asn1(certificate: x509.Certificate) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(certificate.public_bytes(serialization.Encoding.DER))


def attributes(content: bytes, *, digest: str = "sha256", kind: str = "data") -> list[cms.CMSAttribute]:
    """The two signed attributes that must be there, and a third one."""
    value = hashlib.new(digest, content).digest()
    time = cms.Time({"utc_time": datetime.fromtimestamp(NOW, UTC)})
    return [
        cms.CMSAttribute({"type": "content_type", "values": [kind]}),
        cms.CMSAttribute({"type": "signing_time", "values": [time]}),
        cms.CMSAttribute({"type": "message_digest", "values": [value]}),
    ]


def sign(key: object, octets: bytes, *, digest: str, pss: bool = False) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        scheme: padding.AsymmetricPadding = padding.PKCS1v15()
        if pss:
            scheme = padding.PSS(mgf=padding.MGF1(HASHES[digest]), salt_length=HASHES[digest].digest_size)
        return key.sign(octets, scheme, HASHES[digest])
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(octets, ec.ECDSA(HASHES[digest]))
    assert isinstance(key, dsa.DSAPrivateKey)
    return key.sign(octets, HASHES[digest])


def algorithm(key: object, digest: str, *, pss: bool = False) -> algos.SignedDigestAlgorithm:
    if pss:
        mask = algos.MaskGenAlgorithm({"algorithm": "mgf1", "parameters": {"algorithm": digest}})
        parameters = {
            "hash_algorithm": {"algorithm": digest},
            "mask_gen_algorithm": mask,
            "salt_length": HASHES[digest].digest_size,
        }
        return algos.SignedDigestAlgorithm({"algorithm": "rsassa_pss", "parameters": parameters})
    kinds = {rsa.RSAPrivateKey: "rsassa_pkcs1v15", ec.EllipticCurvePrivateKey: f"{digest}_ecdsa"}
    kind = next((name for base, name in kinds.items() if isinstance(key, base)), f"{digest}_dsa")
    return algos.SignedDigestAlgorithm({"algorithm": kind})


def signer_info(
    signer: Party,
    content: bytes,
    *,
    digest: str = "sha256",
    pss: bool = False,
    by_key_identifier: bool = False,
    signed_attributes: Sequence[cms.CMSAttribute] | None = None,
    bare: bool = False,
) -> cms.SignerInfo:
    """A signer of content; ``bare`` signs the content itself, without attributes."""
    found = cms.CMSAttributes(attributes(content, digest=digest) if signed_attributes is None else signed_attributes)
    certificate = asn1(signer.certificate)
    if by_key_identifier:
        identifier = cms.SignerIdentifier("subject_key_identifier", certificate.key_identifier)
    else:
        named = {"issuer": certificate.issuer, "serial_number": certificate.serial_number}
        identifier = cms.SignerIdentifier("issuer_and_serial_number", named)
    fields = {
        "version": "v1",
        "sid": identifier,
        "digest_algorithm": {"algorithm": digest},
        "signature_algorithm": algorithm(signer.key, digest, pss=pss),
        "signature": sign(signer.key, content if bare else found.dump(), digest=digest, pss=pss),
    }
    if not bare:
        fields["signed_attrs"] = found
    return cms.SignerInfo(fields)


def message(
    signers: Sequence[cms.SignerInfo],
    *,
    content: bytes | None = DOCUMENT,
    kind: str = "data",
    certificates: Sequence[x509.Certificate] = (),
    change: Callable[[cms.SignedData], None] = lambda data: None,
) -> bytes:
    """A whole message in DER. ``change`` may spoil it before it is encoded."""
    enclosed: dict[str, object] = {"content_type": kind}
    if content is not None:
        enclosed["content"] = core.OctetString(content)
    data = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [{"algorithm": "sha256"}],
            "encap_content_info": enclosed,
            "certificates": [asn1(certificate) for certificate in certificates],
            "signer_infos": signers,
        }
    )
    change(data)
    return cms.ContentInfo({"content_type": "signed_data", "content": data}).dump(force=True)


def signed(signer: Party, content: bytes = DOCUMENT, *, extra: Sequence[Party] = (), **how: object) -> bytes:
    """An honest message of one signer, with its certificate and those of others."""
    certificates = [signer.certificate, *(other.certificate for other in extra)]
    return message([signer_info(signer, content, **how)], content=content, certificates=certificates)


def armour(message: bytes, label: str = "PKCS7") -> str:
    """The message as text."""
    return f"-----BEGIN {label}-----\n{base64.encodebytes(message).decode()}-----END {label}-----\n"


def unarmour(text: str) -> bytes:
    """The octets of an armoured message."""
    return base64.b64decode("".join(text.splitlines()[1:-1]))
