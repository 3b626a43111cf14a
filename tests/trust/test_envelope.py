"""Attacks on the envelope of a deployment specification, each under its name, and what must pass."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable

import pytest
from asn1crypto import algos, cms, core
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from agent.trust.ber import Element, emit, read
from agent.trust.envelope import MAX_PAYLOAD, SignerPolicy, TrustError, open_envelope
from envelope_forge import (
    DOCUMENT,
    NOW,
    Party,
    algorithm,
    armour,
    attributes,
    dsa_key,
    ec_key,
    message,
    party,
    rsa_key,
    sign,
    signed,
    signer_info,
)

ANYBODY = SignerPolicy()
OTHER = b'{"DeploymentId": "d-EVIL00000"}'


@pytest.fixture(scope="module")
def signer():
    return party()


@pytest.fixture(scope="module")
def stranger():
    return party("stranger")


def opened(message: bytes, policy: SignerPolicy = ANYBODY, now: float = NOW) -> bytes:
    return open_envelope("PKCS7/JSON", armour(message), policy=policy, now=now)


def refusal(message: bytes, policy: SignerPolicy = ANYBODY, now: float = NOW) -> str:
    with pytest.raises(TrustError) as caught:
        opened(message, policy, now)
    assert caught.value.remedy
    return caught.value.message


# What must pass.


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("how", [{}, {"pss": True}, {"bare": True}, {"by_key_identifier": True}])
def test_an_honest_message_is_opened(signer, digest, how):
    assert opened(signed(signer, digest=digest, **how)) == DOCUMENT


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_a_message_signed_on_an_elliptic_curve_is_opened(curve):
    assert opened(signed(party(key=ec_key(curve)), digest="sha384")) == DOCUMENT


@pytest.mark.parametrize("sign_as_sent", [True, False])
def test_attributes_in_an_order_of_their_own_are_accepted_whichever_order_was_signed(signer, sign_as_sent):
    """DER has an order for them, which asn1crypto keeps; OpenSSL checks the order in which they come."""
    info = signer_info(signer, DOCUMENT)
    honest = info["signed_attrs"].untag().dump()
    ordered = b"".join(sorted(entry.dump() for entry in attributes(DOCUMENT)))
    sent = b"".join(sorted((entry.dump() for entry in attributes(DOCUMENT)), reverse=True))
    assert honest.endswith(ordered)
    if sign_as_sent:
        info["signature"] = sign(signer.key, honest.replace(ordered, sent), digest="sha256")
    data = message([info], certificates=[signer.certificate])
    assert opened(data.replace(ordered, sent)) == DOCUMENT


def test_certificates_beside_the_signers_do_no_harm(signer, stranger):
    assert opened(signed(signer, extra=[stranger])) == DOCUMENT


def test_unsigned_attributes_are_not_read(signer):
    info = signer_info(signer, DOCUMENT)
    info["unsigned_attrs"] = [cms.CMSAttribute({"type": "1.2.3.4", "values": [core.OctetString(b"anything")]})]
    assert opened(message([info], certificates=[signer.certificate])) == DOCUMENT


def test_line_ends_of_another_system_do_no_harm(signer):
    text = armour(signed(signer)).replace("\n", "\r\n")
    assert open_envelope("PKCS7/JSON", text, policy=ANYBODY, now=NOW) == DOCUMENT


@pytest.fixture(scope="module")
def openssl_files(tmp_path_factory, signer):
    directory = tmp_path_factory.mktemp("openssl")
    private = signer.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "signer.pem").write_bytes(private + signer.pem)
    (directory / "document").write_bytes(LONG)
    return directory


LONG = DOCUMENT + b" " * 10_000


SIGN = "openssl cms -sign -nodetach -binary -outform PEM -in document -signer signer.pem"


@pytest.mark.needs_tool("openssl")
@pytest.mark.parametrize("options", ["", "-noattr", "-keyid", "-md sha512", "-md sha1", "-keyopt rsa_padding_mode:pss"])
def test_a_message_as_the_real_service_sends_it_is_opened(openssl_files, options):
    # In pieces and with open lengths, but for PSS: what OpenSSL 3.0 should stream then, it cannot write.
    command = [*SIGN.split(), *options.split(), *(() if "pss" in options else ("-stream",))]
    done = subprocess.run(command, cwd=openssl_files, capture_output=True, text=True, check=True)
    text = done.stdout.replace("CMS-----", "PKCS7-----")
    assert open_envelope("PKCS7/JSON", text, policy=ANYBODY, now=NOW) == LONG


# Format and armour.


@pytest.mark.parametrize("kind", ["TEXT/JSON", "JSON", "PKCS7/XML", "pkcs7/json", "", "BOGUS"])
def test_another_format_is_refused_however_well_signed(signer, kind):
    with pytest.raises(TrustError) as caught:
        open_envelope(kind, armour(signed(signer)), policy=ANYBODY, now=NOW)
    assert kind in caught.value.message
    assert caught.value.remedy


def test_unsigned_text_is_refused(signer):
    with pytest.raises(TrustError, match="unsigned"):
        open_envelope("TEXT/JSON", DOCUMENT.decode(), policy=ANYBODY, now=NOW)
    with pytest.raises(TrustError, match="does not begin"):
        open_envelope("PKCS7/JSON", DOCUMENT.decode(), policy=ANYBODY, now=NOW)


@pytest.mark.parametrize("label", ["CMS", "PKCS #7 SIGNED DATA", "CERTIFICATE", "pkcs7", "PKCS7 "])
def test_another_label_is_refused(signer, label):
    with pytest.raises(TrustError, match="does not begin"):
        open_envelope("PKCS7/JSON", armour(signed(signer), label), policy=ANYBODY, now=NOW)


def armour_attacks(text: str) -> dict[str, str]:
    begin, end = "-----BEGIN PKCS7-----\n", "-----END PKCS7-----\n"
    body = text.removeprefix(begin).removesuffix(end)
    return {
        "text before": "hello\n" + text,
        "text after": text + "hello",
        "two blocks": text + text,
        "a header": begin + "Proc-Type: 4\n\n" + body + end,
        "only the end": end,
        "overlapping": "-----BEGIN PKCS7-----END PKCS7-----",
        "nothing": "",
        "nothing within": begin + end,
        "a character that is none": begin + body[:40] + "!" + body[40:] + end,
        "a letter that only looks right": begin + "\u041c" + body[1:] + end,
        "half a character": begin + "\ud800" + body[1:] + end,
        "padding within": begin + body[:40] + "==" + body[40:] + end,
        "a character too few": begin + body.rstrip("\n=")[:-1] + end,
        "a space": begin + body[:40] + " " + body[40:] + end,
        "a NUL": begin + body[:40] + "\0" + body[40:] + end,
    }


@pytest.mark.parametrize("attack", armour_attacks(""))
def test_damaged_armour_is_refused(signer, attack):
    text = armour_attacks(armour(signed(signer)))[attack]
    with pytest.raises(TrustError):
        open_envelope("PKCS7/JSON", text, policy=ANYBODY, now=NOW)


@pytest.mark.parametrize("end", ["", "-----END CMS-----\n", "-----END PKCS7----\n"])
def test_an_end_that_does_not_fit_the_beginning_is_refused(signer, end):
    text = armour(signed(signer)).replace("-----END PKCS7-----\n", end)
    with pytest.raises(TrustError, match="does not end"):
        open_envelope("PKCS7/JSON", text, policy=ANYBODY, now=NOW)


def test_a_payload_that_would_fill_the_memory_is_refused_unread():
    with pytest.raises(TrustError, match="more than"):
        open_envelope("PKCS7/JSON", "A" * (MAX_PAYLOAD + 1), policy=ANYBODY, now=NOW)


# Content and signature.


def test_content_changed_after_signing(signer):
    data = signed(signer)
    assert "not the one that was signed" in refusal(data.replace(b"7XK2Q9B4T", b"7XK2Q9B4U"))


def test_content_changed_after_signing_without_attributes(signer):
    data = signed(signer, bare=True)
    assert "does not fit" in refusal(data.replace(b"7XK2Q9B4T", b"7XK2Q9B4U"))


def test_content_and_digest_attribute_swapped(signer):
    old, new = hashlib.sha256(DOCUMENT).digest(), hashlib.sha256(OTHER).digest()
    data = signed(signer).replace(DOCUMENT, OTHER).replace(old, new)
    assert len(OTHER) == len(DOCUMENT)
    assert "signature does not fit" in refusal(data)


def test_signature_stripped(signer):
    info = signer_info(signer, DOCUMENT)
    info["signature"] = b""
    assert "does not fit" in refusal(message([info], certificates=[signer.certificate]))


def test_signature_of_another_message(signer):
    info = signer_info(signer, DOCUMENT)
    info["signature"] = signer_info(signer, OTHER)["signature"].native
    assert "does not fit" in refusal(message([info], certificates=[signer.certificate]))


def test_unsigned_content(signer):
    assert "no signers" in refusal(message([], certificates=[signer.certificate]))


def test_content_that_is_not_enclosed(signer):
    info = signer_info(signer, DOCUMENT)
    assert "encloses no content" in refusal(message([info], content=None, certificates=[signer.certificate]))


def test_content_that_was_signed_as_something_else(signer):
    info = signer_info(signer, DOCUMENT, signed_attributes=attributes(DOCUMENT, kind="digested_data"))
    assert "not as plain data" in refusal(message([info], certificates=[signer.certificate]))


def test_content_that_is_not_plain_data(signer):
    plain, digested = (cms.ContentType(name).dump() for name in ("data", "digested_data"))
    assert "not plain data" in refusal(signed(signer).replace(plain, digested, 1))


def test_a_message_that_is_encrypted_or_plain_and_not_signed():
    plain = cms.ContentInfo({"content_type": "data", "content": core.OctetString(DOCUMENT)}).dump()
    assert "not signed data" in refusal(plain)


def test_signed_attributes_passed_off_as_content(signer):
    info = signer_info(signer, DOCUMENT)
    content = info["signed_attrs"].untag().dump()
    bare = signer_info(signer, content, bare=True)
    bare["signature"] = info["signature"].native
    assert "form of signed attributes" in refusal(message([bare], content=content, certificates=[signer.certificate]))


@pytest.mark.parametrize("missing", ["content_type", "message_digest"])
def test_signed_attributes_that_leave_out_what_binds_them_to_the_content(signer, missing):
    found = [entry for entry in attributes(DOCUMENT) if entry["type"].native != missing]
    info = signer_info(signer, DOCUMENT, signed_attributes=found)
    assert "exactly one" in refusal(message([info], certificates=[signer.certificate]))


def test_two_digests_of_which_one_fits(signer):
    twice = [*attributes(OTHER), attributes(DOCUMENT)[2]]
    info = signer_info(signer, DOCUMENT, signed_attributes=twice)
    assert "exactly one" in refusal(message([info], certificates=[signer.certificate]))
    both = cms.CMSAttribute(
        {"type": "message_digest", "values": [hashlib.sha256(x).digest() for x in (DOCUMENT, OTHER)]}
    )
    info = signer_info(signer, DOCUMENT, signed_attributes=[attributes(DOCUMENT)[0], both])
    assert "exactly one" in refusal(message([info], certificates=[signer.certificate]))


def test_an_empty_set_of_attributes(signer):
    info = signer_info(signer, DOCUMENT, signed_attributes=[])
    assert "exactly one" in refusal(message([info], certificates=[signer.certificate]))


# Signers and certificates.


def test_second_signer_added(signer, stranger):
    both = [signer_info(signer, DOCUMENT), signer_info(stranger, DOCUMENT)]
    data = message(both, certificates=[signer.certificate, stranger.certificate])
    assert "2 signers" in refusal(data)
    assert "2 signers" in refusal(data, SignerPolicy(fingerprints=(signer.fingerprint,)))


def test_certificate_left_out(signer):
    assert "none of its certificates" in refusal(message([signer_info(signer, DOCUMENT)]))


@pytest.mark.parametrize("by_key_identifier", [False, True])
def test_certificate_of_somebody_else_only(signer, stranger, by_key_identifier):
    info = signer_info(signer, DOCUMENT, by_key_identifier=by_key_identifier)
    assert "none of its certificates" in refusal(message([info], certificates=[stranger.certificate]))


def test_certificate_swapped_for_one_of_the_same_name_and_number(signer):
    double = party(key=rsa_key("double"))
    info = signer_info(signer, DOCUMENT)
    assert "does not fit" in refusal(message([info], certificates=[double.certificate]))


def test_certificate_of_the_same_name_and_number_slipped_in_beside(signer):
    double = party(key=rsa_key("double"))
    data = message([signer_info(double, DOCUMENT)], certificates=[signer.certificate, double.certificate])
    assert "2 of its certificates" in refusal(data, SignerPolicy(fingerprints=(signer.fingerprint,)))


def test_certificate_swapped_for_one_with_the_pinned_signers_key(signer):
    """The signature holds for it, but nobody has vouched for this certificate."""
    copy = party(days=(-1, 3000))
    data = message([signer_info(signer, DOCUMENT)], certificates=[copy.certificate])
    assert opened(data) == DOCUMENT
    assert "is not pinned" in refusal(data, SignerPolicy(fingerprints=(signer.fingerprint,)))


def test_the_same_certificate_twice_does_no_harm(signer):
    data = message([signer_info(signer, DOCUMENT)], certificates=[signer.certificate] * 2)
    assert opened(data) == DOCUMENT


def test_more_certificates_than_a_chain_can_have(signer):
    data = signed(signer, extra=[party("other", serial=number) for number in range(100, 116)])
    assert "17 certificates" in refusal(data)


# Algorithms and keys.


@pytest.mark.parametrize("digest", ["md5", "sha224"])
def test_a_digest_that_does_not_count(signer, digest):
    assert "is not SHA-256" in refusal(signed(signer, digest=digest))


def test_sha1_shows_that_a_message_is_whole_but_not_who_signed_it(signer):
    data = signed(signer, digest="sha1")
    assert opened(data) == DOCUMENT
    assert "SHA-1" in refusal(data, SignerPolicy(fingerprints=(signer.fingerprint,)))
    assert "not the one that was signed" in refusal(data.replace(b"7XK2Q9B4T", b"7XK2Q9B4U"))


def test_a_weak_digest_below_a_strong_name(signer):
    info = signer_info(signer, DOCUMENT)
    info["signature_algorithm"] = {"algorithm": "sha1_rsa"}
    info["signature"] = sign(signer.key, info["signed_attrs"].untag().dump(), digest="sha1")
    assert "different digest" in refusal(message([info], certificates=[signer.certificate]))


def test_a_weak_digest_in_the_parameters_of_a_signature(signer):
    info = signer_info(signer, DOCUMENT, pss=True)
    info["signature_algorithm"] = algorithm(signer.key, "sha1", pss=True)
    assert "different digest" in refusal(message([info], certificates=[signer.certificate]))


def test_a_salt_that_no_signature_has(signer):
    for salt in (-1, 1025, 1 << 40):
        info = signer_info(signer, DOCUMENT, pss=True)
        info["signature_algorithm"]["parameters"]["salt_length"] = salt
        assert f"{salt} bytes" in refusal(message([info], certificates=[signer.certificate]))


def test_a_mask_that_is_not_the_usual_one(signer):
    usual = algos.MaskGenAlgorithmId("mgf1").dump()
    assert "not MGF1" in refusal(signed(signer, pss=True).replace(usual, usual[:-1] + b"\x07"))


def test_an_rsa_key_that_only_costs_time(signer):
    class Huge:
        def public_key(self):
            return rsa.RSAPublicNumbers(65537, (1 << 9000) + 1).public_key()

    huge = party("huge", key=Huge(), issuer=signer)
    assert "9001 bits" in refusal(signed(Party(signer.key, huge.certificate)))


@pytest.mark.parametrize("bits", [1024, 1536])
def test_an_rsa_key_that_can_be_broken(bits):
    assert f"{bits} bits" in refusal(signed(party(key=rsa_key("small", bits))))


def test_a_curve_that_is_not_among_the_usual():
    assert "secp256k1" in refusal(signed(party(key=ec_key(ec.SECP256K1))))


def test_a_kind_of_key_that_nobody_uses():
    assert "neither RSA" in refusal(signed(party(key=dsa_key())))


def test_an_algorithm_that_does_not_go_with_the_key(signer):
    info = signer_info(signer, DOCUMENT)
    info["signature_algorithm"] = {"algorithm": "sha256_ecdsa"}
    assert "one that goes with its key" in refusal(message([info], certificates=[signer.certificate]))


# Encoding.


def test_trailing_data(signer):
    assert "1 bytes follow" in refusal(signed(signer) + b"\0")
    assert "follow" in refusal(signed(signer) + signed(signer))


def test_a_message_cut_short_anywhere(signer, sample):
    data = signed(signer)
    for end in sample(range(len(data)), 60):
        assert refusal(data[:end])


# Where the structures are that have no room for anything else: child by child from the top.
STRUCTURES = {
    "the message": (),
    "what is signed": (1,),
    "the signed data": (1, 0),
    "the content and its type": (1, 0, 2),
    "the content": (1, 0, 2, 1),
    "the signer": (1, 0, 4, 0),
    "the name of the signer": (1, 0, 4, 0, 1),
    "the digest algorithm": (1, 0, 4, 0, 2),
    "a signed attribute": (1, 0, 4, 0, 3, 0),
    "the signature algorithm": (1, 0, 4, 0, 4),
}


def rebuilt(element: Element, path: tuple[int, ...], change: Callable[[Element], bytes]) -> bytes:
    """The element with another one in the place to which the path leads."""
    if not path:
        return change(element)
    children = [bytes(child.encoded) for child in element.children]
    children[path[0]] = rebuilt(element.children[path[0]], path[1:], change)
    return emit(element.identifier, b"".join(children))


@pytest.mark.parametrize("where", STRUCTURES)
@pytest.mark.parametrize("extra", [b"\x05\x00", b"\x30\x00", b"\xa5\x00"])
def test_something_added_that_does_not_belong_there(signer, where, extra):
    def add(found: Element) -> bytes:
        return emit(found.identifier, bytes(found.content) + extra)

    assert refusal(rebuilt(read(signed(signer)), STRUCTURES[where], add))


@pytest.mark.parametrize("where", STRUCTURES)
def test_a_structure_emptied(signer, where):
    assert refusal(rebuilt(read(signed(signer)), STRUCTURES[where], lambda found: emit(found.identifier, b"")))


@pytest.mark.parametrize("where", STRUCTURES)
@pytest.mark.parametrize("kind", [0x31, 0x24, 0xA4])
def test_a_structure_of_another_kind(signer, where, kind):
    assert refusal(rebuilt(read(signed(signer)), STRUCTURES[where], lambda found: emit(kind, found.content)))


@pytest.mark.parametrize("path", [(1, 0, 0), (1, 0, 1), (1, 0, 4, 0, 0), (1, 0, 4, 0, 5), (1, 0, 4), (1, 0, 2, 0)])
def test_a_part_that_stands_in_the_place_of_another(signer, path):
    other = rebuilt(read(signed(signer)), path, lambda found: emit(0x0C, found.content))
    assert refusal(other)


# Pinned signers.


def test_the_pinned_signer_is_accepted_in_any_spelling_of_its_fingerprint(signer):
    digits = signer.fingerprint.upper()
    colons = ":".join(digits[at : at + 2] for at in range(0, 64, 2))
    for text in (digits, colons, digits.lower()):
        assert opened(signed(signer), SignerPolicy(fingerprints=("0" * 64, text))) == DOCUMENT


def test_a_strangers_signature_with_a_pin(signer, stranger):
    data = signed(stranger)
    assert opened(data) == DOCUMENT
    message = refusal(data, SignerPolicy(fingerprints=(signer.fingerprint,)))
    assert "CN=stranger" in message
    assert stranger.fingerprint in message


@pytest.mark.parametrize("text", ["", "AB:CD", "0" * 63, "0" * 40, "sha256", "g" * 64])
def test_a_misspelt_pin_does_not_let_everybody_in(signer, text):
    assert "is not a SHA-256 fingerprint" in refusal(signed(signer), SignerPolicy(fingerprints=(text,)))


@pytest.mark.parametrize(("days", "says"), [((-60, -1), "expired"), ((1, 60), "not valid before")])
def test_a_pinned_signer_outside_its_time(days, says):
    late = party("late", days=days)
    assert opened(signed(late)) == DOCUMENT
    assert says in refusal(signed(late), SignerPolicy(fingerprints=(late.fingerprint,)))


def test_where_both_are_pinned_both_must_hold(signer, stranger, tmp_path):
    (tmp_path / "ca.pem").write_bytes(signer.pem + stranger.pem)
    both = SignerPolicy(ca_file=str(tmp_path / "ca.pem"), fingerprints=(signer.fingerprint,))
    assert opened(signed(signer), both) == DOCUMENT
    assert "is not pinned" in refusal(signed(stranger), both)
    (tmp_path / "ca.pem").write_bytes(stranger.pem)
    assert "deployment_signer_ca_file" in refusal(signed(signer), both)


def test_the_fingerprint_to_pin_is_in_the_debug_log(signer, caplog):
    with caplog.at_level("DEBUG", "agent.trust"):
        opened(signed(signer))
    assert signer.fingerprint in caplog.text
