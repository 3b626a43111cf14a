"""Certificates that are made at the start of a sandbox and end with it."""

from __future__ import annotations

import ipaddress
import os
import ssl
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = timedelta(days=365)

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class TlsIdentity(NamedTuple):
    """What a server shows, and the CA certificate (PEM) that its clients need."""

    context: ssl.SSLContext
    ca_pem: str


def named(common_name: str) -> x509.Name:
    """Return the name of a subject or issuer."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def builder(subject: x509.Name, issuer: x509.Name, key: PublicKey, *, is_ca: bool) -> x509.CertificateBuilder:
    """Begin a certificate for a key, valid from a day ago for a year."""
    begin = datetime.now(UTC) - timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + _VALID)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def make_tls_identity(hosts: Sequence[str]) -> TlsIdentity:
    """Make a certificate authority and a server's certificate for these names and addresses; no key stays on a disk."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = named("codedeploy-agent sandbox CA")
    ca = (
        builder(issuer, issuer, ca_key.public_key(), is_ca=True)
        .add_extension(key_usage(is_ca=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    certificate = (
        builder(named("codedeploy-agent sandbox"), issuer, key.public_key(), is_ca=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .add_extension(key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context = _context(private + certificate.public_bytes(Encoding.PEM))
    return TlsIdentity(context, ca.public_bytes(Encoding.PEM).decode("ascii"))


def _context(key_and_certificate: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.NamedTemporaryFile() as file:  # OpenSSL reads keys from files only
        file.write(key_and_certificate)
        file.flush()
        os.fchmod(file.fileno(), 0o600)
        context.load_cert_chain(file.name)
    return context


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def key_usage(*, is_ca: bool) -> x509.KeyUsage:
    """Return what the key of a certificate is for, which Python 3.13 wants to be told."""
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
