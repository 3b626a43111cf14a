"""An envelope in, its verified content out."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import logging

from agent.trust.ber import SET, Element, der, emit, object_identifier, octets, read
from agent.trust.certificates import check_validity, fingerprint, load, signer_certificate, subject
from agent.trust.chain import check_chain, load_ca_file
from agent.trust.cms import DATA, Signer, attribute, signed_message
from agent.trust.errors import TrustError, damaged
from agent.trust.policy import SignerPolicy, clean_fingerprint
from agent.trust.signature import check_signature, digest_name

__all__ = ["MAX_PAYLOAD", "SignerPolicy", "TrustError", "open_envelope"]

_log = logging.getLogger(__name__)

MAX_PAYLOAD = 1 << 20
"""Characters of a payload. A specification has a few thousand."""

_BEGIN, _END = "-----BEGIN PKCS7-----", "-----END PKCS7-----"
_CONTENT_TYPE, _MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"


def open_envelope(format: str, payload: str, *, policy: SignerPolicy, now: float) -> bytes:  # noqa: A002
    """Check the envelope of a deployment specification, and give its content, which is what somebody has signed.

    ``now`` is in seconds since the epoch. Raises TrustError, and nothing else, unless all of this holds:

    1. The format is PKCS7/JSON. Anybody can write TEXT/JSON, so that is for local deployments only.
    2. The payload is one block of PEM with that label, of bounded size, with nothing around it.
    3. It is one element of BER, within the limits of agent.trust.ber, with nothing after it.
    4. It is signed data that encloses its content, which is plain data.
    5. It has exactly one signer, whose certificate is in it exactly once.
    6. The digest algorithm is among those that count.
    7. Signed attributes, where there are any, name the type of the content and its digest, once each.
    8. The signature is over these attributes, or over the content where there are none, by the certificate's key,
       with an algorithm and a key that count.

    And where the policy pins the signer:

    9. The certificate has one of the pinned fingerprints.
    10. It is valid at this time.
    11. A chain leads from it to a certificate of the CA file (the checks of agent.trust.chain).

    Who has signed is unknown where nothing is pinned, as with the official agents: then TLS vouches for the sender.
    """
    _check_format(format)  # 1
    encoded = _unarmour(payload)  # 2
    element = read(encoded)  # 3
    message = signed_message(element)  # 4, and 5 but for the certificate
    signer, found = message.signer, signer_certificate(message)  # 5
    certificate = load(bytes(found.encoded))
    digest = digest_name(signer.digest, pinned=policy.pinned)  # 6
    if signer.attributes is None:
        _check_no_attributes(message.content)  # 7
        signed = [message.content]
    else:
        _check_attributes(signer.attributes, hashlib.new(digest, message.content).digest())  # 7
        signed = _attributes_as_signed(signer)
    check_signature(certificate, signer, digest=digest, signed=signed)  # 8
    if policy.fingerprints:
        _check_fingerprint(found, policy)  # 9
    if policy.pinned:
        check_validity(certificate, now)  # 10
    if policy.ca_file is not None:  # 11
        embedded = [load(bytes(other.encoded)) for other in message.certificates]
        check_chain(certificate, embedded=embedded, anchors=load_ca_file(policy.ca_file), now=now)
    _log.debug("signed by %s, SHA-256 fingerprint %s", subject(certificate), fingerprint(found))
    return message.content


def _check_format(found: str) -> None:
    if found == "PKCS7/JSON":
        return
    if found == "TEXT/JSON":
        raise TrustError(
            "The deployment specification came as TEXT/JSON, unsigned, and is not used.",
            remedy="Unsigned ones are for codedeploy-local only. See where deploy_control_endpoint leads.",
        )
    raise TrustError(
        f"The deployment specification came in the format {found[:64]!r}, not as PKCS7/JSON.",
        remedy="This agent knows no other format: see whether there is a newer agent.",
    )


def _unarmour(payload: str) -> bytes:
    """The octets within the PEM text."""
    if len(payload) > MAX_PAYLOAD:
        raise damaged(f"it has {len(payload)} characters, more than {MAX_PAYLOAD}")
    text = payload.strip(" \t\r\n")
    if not text.startswith(_BEGIN):
        raise damaged(f'it does not begin with "{_BEGIN}" but with {text[: len(_BEGIN)]!r}')
    if not text.endswith(_END):
        raise damaged(f'it does not end with "{_END}"')
    body = text[len(_BEGIN) : -len(_END)].replace("\r", "").replace("\n", "")
    try:
        return binascii.a2b_base64(body, strict_mode=True)
    except ValueError as error:
        raise damaged(f"it is not in base64 ({error})") from error


def _check_attributes(attributes: tuple[Element, ...], content_digest: bytes) -> None:
    kind = object_identifier(attribute(attributes, _CONTENT_TYPE, "content type"), "the signed content type")
    if kind != DATA:
        raise damaged(f"it was signed as content of type {kind} and not as plain data")
    signed_digest = octets(attribute(attributes, _MESSAGE_DIGEST, "message digest"), "the signed message digest")
    if not hmac.compare_digest(signed_digest, content_digest):
        raise damaged("its content is not the one that was signed")


def _check_no_attributes(content: bytes) -> None:
    """Refuse what could be the attributes of another message of the same signer, with its signature, as content.

    A specification is a JSON object and begins with a brace; see section 5.4 of RFC 5652 for what is signed.
    """
    if content[:1] == bytes([SET]):
        raise damaged("its content has the form of signed attributes")


def _attributes_as_signed(signer: Signer) -> list[bytes]:
    """The octets that the signature over the attributes may be over (RFC 5652, section 5.4): a set of them, in DER.

    DER orders the members of a set, but OpenSSL takes them in the order received, and so do some who sign.
    """
    members = [der(member) for member in signer.attributes or ()]
    return [emit(SET, b"".join(order)) for order in (members, sorted(members))]


def _check_fingerprint(found: Element, policy: SignerPolicy) -> None:
    pinned = [clean_fingerprint(text) for text in policy.fingerprints]
    if fingerprint(found) not in pinned:
        raise TrustError(
            f"The deployment specification is signed by {subject(load(bytes(found.encoded)))} with the SHA-256 "
            f"fingerprint {fingerprint(found)}, which is not pinned.",
            remedy="Nothing was downloaded or run. If you know from another source that it is the service's, "
            "add it to deployment_signer_fingerprints.",
        )
