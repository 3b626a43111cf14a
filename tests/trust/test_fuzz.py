"""Messages changed at random: each is opened with its own content or refused, and nothing else comes of it."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from agent.sandbox.envelopes import EnvelopeSigner
from agent.trust.envelope import SignerPolicy, TrustError, open_envelope
from envelope_forge import DOCUMENT, NOW, armour, ec_key, party, signed, unarmour

SIGNER = party()
MESSAGES = {
    "in pieces": unarmour(EnvelopeSigner.make().seal(DOCUMENT)),
    "attributes": signed(SIGNER),
    "key identifier": signed(SIGNER, by_key_identifier=True),
    "pss": signed(SIGNER, pss=True),
    "curve": signed(party(key=ec_key(ec.SECP256R1))),
    "no attributes": signed(SIGNER, bare=True),
    "chain": signed(party(issuer=party("root", ca=True)), extra=[party("root", ca=True)]),
}

positions = st.integers(min_value=0, max_value=1 << 30)
pieces = st.one_of(
    st.binary(min_size=1, max_size=6),
    st.sampled_from([b"\0\0", b"\x80", b"\x84\xff\xff\xff\xff", b"\x30\x80", b"\x24\x80", b"\x1f\xff", b"\x06\x00"]),
)
# Where the piece goes, how many octets it takes the place of, and the piece.
changes = st.lists(st.tuples(positions, st.integers(0, 8), pieces), min_size=1, max_size=4)


def changed(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for position, gone, piece in edits:
        position %= len(data)
        data = data[:position] + piece + data[position + gone :]
    return data


def opened_or_refused(text: str, policy: SignerPolicy) -> bytes | None:
    try:
        return open_envelope("PKCS7/JSON", text, policy=policy, now=NOW)
    except TrustError as error:
        refusal = error
    assert refusal.message.isprintable()
    assert len(str(refusal)) < 2000
    return None


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_bytes(party("root", ca=True).pem)
    return str(path)


@pytest.mark.parametrize("name", MESSAGES)
@given(edits=changes)
def test_a_changed_message_gives_its_own_content_or_a_refusal(name, edits):
    found = opened_or_refused(armour(changed(MESSAGES[name], edits)), SignerPolicy())
    assert found in (None, DOCUMENT)


@given(name=st.sampled_from(sorted(MESSAGES)), edits=changes)
def test_a_changed_message_is_refused_under_a_pin_that_it_never_fitted(ca_file, name, edits):
    assert opened_or_refused(armour(changed(MESSAGES[name], edits)), SignerPolicy(fingerprints=("0" * 64,))) is None
    if name != "chain":
        assert opened_or_refused(armour(changed(MESSAGES[name], edits)), SignerPolicy(ca_file=ca_file)) is None


@given(edits=changes)
def test_a_changed_chain_gives_its_own_content_or_a_refusal(ca_file, edits):
    found = opened_or_refused(armour(changed(MESSAGES["chain"], edits)), SignerPolicy(ca_file=ca_file))
    assert found in (None, DOCUMENT)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_octet_turned_over_gives_the_content_or_a_refusal(name, sample):
    data = MESSAGES[name]
    for at in sample(range(len(data)), 150):
        flipped = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        assert opened_or_refused(armour(flipped), SignerPolicy()) in (None, DOCUMENT)


@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_any_text_is_refused(text):
    assert opened_or_refused(text, SignerPolicy()) is None
    assert opened_or_refused(f"-----BEGIN PKCS7-----\n{text}\n-----END PKCS7-----\n", SignerPolicy()) is None


@given(st.binary(max_size=300))
def test_any_octets_in_armour_are_refused(data):
    assert opened_or_refused(armour(data), SignerPolicy()) is None


def test_the_messages_that_are_changed_are_honest_ones():
    """What the fuzzers start from is opened, so that a refusal is their doing."""
    assert all(opened_or_refused(armour(data), SignerPolicy()) == DOCUMENT for data in MESSAGES.values())
