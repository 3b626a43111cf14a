"""Signs deployment specifications as the real service does: signed data in BER, with its content in pieces."""

from __future__ import annotations

import base64

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7

from agent.sandbox.certificates import builder, named
from agent.trust.ber import CONSTRUCTED, OCTET_STRING, SEQUENCE, emit, read

PIECE = 1000
"""Bytes of content in one piece, few enough for an ordinary specification to take several."""

_END_OF_CONTENTS = b"\0\0"


class EnvelopeSigner:
    """A signer with a key of its own and a certificate that it has issued to itself."""

    def __init__(self, key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def make(cls) -> EnvelopeSigner:
        """A signer with a fresh RSA key of 2048 bits; the certificate is valid from a day ago for a year."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = named("codedeploy-agent sandbox")
        certificate = builder(name, name, key.public_key(), is_ca=False).sign(key, hashes.SHA256())
        return cls(key, certificate)

    @property
    def certificate_pem(self) -> str:
        """The certificate, to pin this signer with a CA file."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")

    @property
    def fingerprint(self) -> str:
        """The SHA-256 digest of the certificate in hexadecimal, to pin this signer with a fingerprint."""
        return self._certificate.fingerprint(hashes.SHA256()).hex()

    def seal(self, document: bytes) -> str:
        """The envelope of a document, the payload of the format PKCS7/JSON."""
        signed = (
            pkcs7.PKCS7SignatureBuilder()
            .set_data(document)
            .add_signer(self._certificate, self._key, hashes.SHA256())
            .sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoCapabilities])
        )
        text = base64.encodebytes(_streamed(signed, document)).decode("ascii")
        return f"-----BEGIN PKCS7-----\n{text}-----END PKCS7-----\n"


def _streamed(message: bytes, document: bytes) -> bytes:
    """The same message with open lengths on the way to its content, and the content in pieces.

    The signature is over neither, so it still holds.
    """
    kind, wrapped = read(message).children
    (signed_data,) = wrapped.children
    version, digests, enclosed, *rest = signed_data.children
    content_type, content = enclosed.children
    pieces = [emit(OCTET_STRING, document[at : at + PIECE]) for at in range(0, len(document), PIECE)]
    string = _open(OCTET_STRING | CONSTRUCTED, *pieces)
    inner = _open(SEQUENCE, content_type.encoded, _open(content.identifier, string))
    data = _open(SEQUENCE, version.encoded, digests.encoded, inner, *[element.encoded for element in rest])
    return _open(SEQUENCE, kind.encoded, _open(wrapped.identifier, data))


def _open(identifier: int, *content: bytes | memoryview) -> bytes:
    return bytes((identifier, 0x80)) + b"".join(content) + _END_OF_CONTENTS
