"""The sandbox's envelopes are of the real kind, so that what opens them opens the service's."""

from __future__ import annotations

import subprocess
import time

import pytest
from asn1crypto import cms, pem

from agent.sandbox.envelopes import PIECE, EnvelopeSigner
from agent.trust.envelope import SignerPolicy, TrustError, open_envelope
from envelope_forge import unarmour

VERIFY = "openssl cms -verify -noverify -binary -inform PEM -in message.pem -out content"
DOCUMENTS = [b"", b"{}", b"{" + b" " * PIECE + b"}", b"\0\xff\r\n" * 3000]


@pytest.fixture(scope="module")
def signer():
    return EnvelopeSigner.make()


def opened(payload: str, policy: SignerPolicy) -> bytes:
    return open_envelope("PKCS7/JSON", payload, policy=policy, now=time.time())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_agent_opens_it_pinned_to_fingerprint_and_certificate(signer, document, tmp_path):
    (tmp_path / "ca.pem").write_text(signer.certificate_pem)
    policy = SignerPolicy(ca_file=str(tmp_path / "ca.pem"), fingerprints=(signer.fingerprint,))
    assert opened(signer.seal(document), policy) == document


def test_two_sandboxes_do_not_pass_for_each_other(signer):
    other = EnvelopeSigner.make()
    assert other.fingerprint != signer.fingerprint
    with pytest.raises(TrustError, match="not pinned"):
        opened(other.seal(b"{}"), SignerPolicy(fingerprints=(signer.fingerprint,)))


@pytest.mark.needs_tool("openssl")
@pytest.mark.parametrize("document", DOCUMENTS)
def test_openssl_finds_the_signature_good(signer, document, tmp_path):
    (tmp_path / "message.pem").write_text(signer.seal(document).replace("PKCS7-----", "CMS-----"))
    command = [
        "openssl",
        "cms",
        "-verify",
        "-noverify",
        "-binary",
        "-inform",
        "PEM",
        "-in",
        "message.pem",
        "-out",
        "content",
    ]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert (tmp_path / "content").read_bytes() == document


@pytest.mark.needs_tool("openssl")
def test_openssl_agrees_on_the_fingerprint(signer):
    command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256"]
    done = subprocess.run(command, input=signer.certificate_pem, capture_output=True, text=True, check=True)
    assert done.stdout.strip().partition("=")[2].replace(":", "").lower() == signer.fingerprint


def test_lengths_are_open_and_the_content_is_in_pieces_as_the_service_sends_it(signer):
    """A reader of DER alone must not get by with the sandbox."""
    document = b"x" * (PIECE * 2 + 1)
    message = unarmour(signer.seal(document))
    assert message.startswith(b"\x30\x80")
    assert b"\x24\x80\x04\x82" + PIECE.to_bytes(2, "big") in message
    assert document not in message
    enclosed = cms.ContentInfo.load(message, strict=True)["content"]["encap_content_info"]["content"]
    assert enclosed.native == document


def test_the_certificate_is_one_certificate_in_pem(signer):
    kind, _headers, _data = pem.unarmor(signer.certificate_pem.encode())
    assert kind == "CERTIFICATE"
