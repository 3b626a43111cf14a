"""The parts of a signed message (CMS SignedData, RFC 5652) that matter; everything that it may not have is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agent.trust.ber import (
    CONSTRUCTED,
    SEQUENCE,
    SET,
    Element,
    implicit_octets,
    integer,
    object_identifier,
    octets,
)
from agent.trust.errors import damaged

MAX_CERTIFICATES = 16
"""Certificates that are looked at; a chain has two to four."""

DATA = "1.2.840.113549.1.7.1"
SIGNED_DATA = "1.2.840.113549.1.7.2"

_CONTEXT = 0x80
# What a certificate's fields are tagged with in its version, the only one that comes before its serial number.
_VERSION = _CONTEXT | CONSTRUCTED | 0


class Algorithm(NamedTuple):
    """An algorithm as dotted numbers, and its parameters."""

    oid: str
    parameters: Element | None


class Issued(NamedTuple):
    """Who issued a certificate, as encoded there, and its serial number."""

    issuer: bytes
    serial: int


class Signer(NamedTuple):
    """The one signer. It names its certificate by ``issued`` or by ``key_identifier``; the other is None.

    ``attributes`` is None where the signature is over the content itself.
    """

    issued: Issued | None
    key_identifier: bytes | None
    digest: Algorithm
    attributes: tuple[Element, ...] | None
    algorithm: Algorithm
    signature: bytes


class SignedMessage(NamedTuple):
    """A message with its content, which nothing vouches for yet, and encoded certificates, each once."""

    content: bytes
    certificates: tuple[Element, ...]
    signer: Signer


class Fields:
    """The members of a SEQUENCE, taken in their order."""

    def __init__(self, parent: Element, what: str, *, identifier: int = SEQUENCE) -> None:
        if parent.identifier != identifier:
            raise damaged(f"{what} is not where it should be")
        self._left = list(reversed(parent.children))
        self._what = what

    def take(self, *identifiers: int) -> Element:
        """The next member, which must have one of these identifiers, or any where none is given."""
        if not self._left or (identifiers and self._left[-1].identifier not in identifiers):
            raise damaged(f"{self._what} lacks a part or has them in another order")
        return self._left.pop()

    def maybe(self, *identifiers: int) -> Element | None:
        """The next member if it has one of these identifiers."""
        return self.take() if self._left and self._left[-1].identifier in identifiers else None

    def done(self) -> None:
        """Refuse members that are left over."""
        if self._left:
            raise damaged(f"{self._what} has a part that does not belong there")


def signed_message(message: Element) -> SignedMessage:
    """Take a message apart. Raises TrustError unless it is signed data with its content and exactly one signer."""
    outer = Fields(message, "the message")
    kind = object_identifier(outer.take(), "the type of the message")
    if kind != SIGNED_DATA:
        raise damaged(f"it is of type {kind} and not signed data")
    wrapped = Fields(outer.take(), "the signed data", identifier=_CONTEXT | CONSTRUCTED | 0)
    outer.done()
    fields = Fields(wrapped.take(), "the signed data")
    wrapped.done()
    integer(fields.take(), "the version of the signed data")
    fields.take(SET)  # Digest algorithms, for readers that want to begin before the end; the signer names its own.
    content = _content(fields.take())
    certificates = fields.maybe(_CONTEXT | CONSTRUCTED | 0)
    fields.maybe(_CONTEXT | CONSTRUCTED | 1)  # Revocation lists.
    signers = fields.take(SET).children
    fields.done()
    if len(signers) != 1:
        raise damaged(f"it has {len(signers) or 'no'} signers and not one")
    return SignedMessage(content, _certificates(certificates), _signer(signers[0]))


def algorithm(element: Element, what: str) -> Algorithm:
    """Read an AlgorithmIdentifier; ``what`` it is names it in errors."""
    fields = Fields(element, what)
    oid = object_identifier(fields.take(), what)
    parameters = fields.take() if len(element.children) > 1 else None
    fields.done()
    return Algorithm(oid, parameters)


def issued(certificate: Element) -> Issued:
    """What a certificate says about its issue, byte for byte."""
    fields = Fields(Fields(certificate, "a certificate").take(), "a certificate")
    fields.maybe(_VERSION)
    serial = integer(fields.take(), "the serial number of a certificate")
    fields.take(SEQUENCE)
    return Issued(bytes(fields.take(SEQUENCE).encoded), serial)


def attribute(attributes: Sequence[Element], oid: str, what: str) -> Element:
    """The value of the signed attribute that must be there once, with one value."""
    values = [value for found, value in map(_attribute, attributes) if found == oid]
    if len(values) != 1 or len(values[0].children) != 1:
        raise damaged(f"it does not have exactly one signed {what}")
    return values[0].children[0]


def _attribute(element: Element) -> tuple[str, Element]:
    fields = Fields(element, "a signed attribute")
    oid, values = object_identifier(fields.take(), "a signed attribute"), fields.take(SET)
    fields.done()
    return oid, values


def _content(element: Element) -> bytes:
    fields = Fields(element, "the content")
    kind = object_identifier(fields.take(), "the type of the content")
    if kind != DATA:
        raise damaged(f"its content is of type {kind} and not plain data")
    enclosed = fields.maybe(_CONTEXT | CONSTRUCTED | 0)
    fields.done()
    if enclosed is None:
        raise damaged("it encloses no content")
    inner = Fields(enclosed, "the content", identifier=enclosed.identifier)
    content = octets(inner.take(), "the content")
    inner.done()
    return content


def _certificates(element: Element | None) -> tuple[Element, ...]:
    found = [child for child in (element.children if element else ()) if child.identifier == SEQUENCE]
    if len(found) > MAX_CERTIFICATES:
        raise damaged(f"it has {len(found)} certificates and not {MAX_CERTIFICATES} at most")
    return tuple({bytes(child.encoded): child for child in found}.values())


def _signer(element: Element) -> Signer:
    fields = Fields(element, "the signer")
    integer(fields.take(), "the version of the signer")
    name = fields.take(SEQUENCE, _CONTEXT | 0, _CONTEXT | CONSTRUCTED | 0)
    digest = algorithm(fields.take(), "the digest algorithm")
    attributes = fields.maybe(_CONTEXT | CONSTRUCTED | 0)
    signature_algorithm = algorithm(fields.take(), "the signature algorithm")
    signature = octets(fields.take(), "the signature")
    fields.maybe(_CONTEXT | CONSTRUCTED | 1)  # Unsigned attributes: anybody can write them, so nothing reads them.
    fields.done()
    by_name = name.identifier == SEQUENCE
    return Signer(
        issued=_signer_issued(name) if by_name else None,
        key_identifier=None if by_name else implicit_octets(name, "the key identifier of the signer"),
        digest=digest,
        attributes=attributes.children if attributes else None,
        algorithm=signature_algorithm,
        signature=signature,
    )


def _signer_issued(element: Element) -> Issued:
    fields = Fields(element, "the name of the signer's certificate")
    issuer, serial = fields.take(SEQUENCE), integer(fields.take(), "the serial number of the signer's certificate")
    fields.done()
    return Issued(bytes(issuer.encoded), serial)
