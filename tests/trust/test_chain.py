"""A CA file as a pin: which chains count."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ObjectIdentifier

from agent.trust.chain import MAX_CA_FILE, MAX_CHAIN
from agent.trust.envelope import SignerPolicy, TrustError, open_envelope
from envelope_forge import NOW, Party, armour, ec_key, party, rsa_key, signed


@pytest.fixture
def check(tmp_path):
    """Open a message of the signer, with other certificates beside it, pinned to a file of certificates."""

    def run(signer: Party, *, extra: list[Party] | None = None, file: list[Party]) -> str:
        path = tmp_path / "ca.pem"
        path.write_bytes(b"".join(other.pem for other in file))
        text = armour(signed(signer, extra=extra or []))
        try:
            open_envelope("PKCS7/JSON", text, policy=SignerPolicy(ca_file=str(path)), now=NOW)
        except TrustError as error:
            return error.message
        return "opened"

    return run


@pytest.fixture(scope="module")
def root():
    return party("root", ca=True)


def test_a_signer_of_the_authority_is_accepted(check, root):
    assert check(party(issuer=root), file=[root]) == "opened"


def test_a_signer_that_is_in_the_file_itself_is_accepted(check):
    alone = party("alone", ca=False)
    assert check(alone, file=[alone]) == "opened"


def test_intermediate_authorities_come_with_the_message_or_from_the_file(check, root):
    inner = party("inner", issuer=root, ca=True, usage=["key_cert_sign"])
    signer = party(issuer=inner, usage=["digital_signature"])
    assert check(signer, extra=[inner], file=[root]) == "opened"
    assert check(signer, file=[root, inner]) == "opened"
    assert check(signer, file=[inner]) == "opened"
    assert '"CN=inner"' in check(signer, file=[root])


def test_an_authority_on_an_elliptic_curve_is_accepted(check):
    root = party("ec", key=ec_key(ec.SECP384R1), ca=True)
    assert check(party(issuer=root), file=[root]) == "opened"


def test_a_stranger_with_an_authority_of_its_own_is_refused(check, root):
    other = party("other", ca=True)
    assert "nothing leads from there" in check(party(issuer=other), extra=[other], file=[root])


def test_a_stranger_with_an_authority_of_the_same_name_is_refused(check, root):
    fake = party("root", key=rsa_key("fake"), ca=True)
    assert "has not signed it" in check(party(issuer=fake), extra=[fake], file=[root])


def test_a_stranger_who_signs_for_himself_is_refused(check, root):
    assert "nothing leads from there" in check(party("stranger", ca=True), file=[root])


def test_a_customer_of_the_authority_cannot_issue_certificates(check, root):
    """Everybody with a certificate of a public authority could sign otherwise."""
    for customer in (
        party("customer", issuer=root),
        party("customer", issuer=root, ca=False),
        party("customer", issuer=root, ca=True, usage=["digital_signature"]),
    ):
        assert "not a certificate authority" in check(party(issuer=customer), extra=[customer], file=[root])


def test_an_authority_that_may_have_none_below_it_has_none(check, root):
    outer = party("outer", issuer=root, ca=True, path_length=0)
    inner = party("inner", issuer=outer, ca=True)
    assert check(party(issuer=outer), extra=[outer], file=[root]) == "opened"
    assert "allows 0" in check(party(issuer=inner), extra=[outer, inner], file=[root])


@pytest.mark.parametrize(("days", "says"), [((-60, -1), "expired"), ((1, 60), "not valid before")])
def test_a_chain_with_a_part_outside_its_time_is_refused(check, root, days, says):
    old = party("old", issuer=root, ca=True, days=days)
    assert says in check(party(issuer=old), extra=[old], file=[root])
    assert says in check(party(issuer=old), file=[old])
    assert says in check(party("late", issuer=root, days=days), file=[root])
    own = party("own", days=days)
    assert says in check(own, file=[own])


def test_a_chain_with_a_weak_link_is_refused(check, root):
    small = party("small", key=rsa_key("small", 1024), issuer=root, ca=True)
    assert "weak" in check(party(issuer=small), extra=[small], file=[root])
    assert "weak" in check(party(issuer=root, digest="sha224"), file=[root])


def test_a_key_that_is_not_for_signatures_does_not_sign(check, root):
    assert "not meant for signatures" in check(party(issuer=root, usage=["key_encipherment"]), file=[root])


def test_what_a_certificate_calls_critical_is_not_ignored(check, root):
    unknown = [(x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]
    assert "1.2.3.4" in check(party(issuer=root, extensions=unknown), file=[root])
    names = [(x509.NameConstraints([x509.DNSName("example.org")], None), True)]
    bound = party("bound", issuer=root, ca=True, extensions=names)
    assert "critical extension" in check(party(issuer=bound), extra=[bound], file=[root])


def test_authorities_that_vouch_for_each_other_do_not_hold_the_agent_up(check, root):
    one = party("one", ca=True)
    two = party("two", issuer=one, ca=True)
    one_again = party("one", issuer=two, ca=True, serial=8)
    assert "nothing leads from there" in check(party(issuer=two), extra=[one, two, one_again], file=[root])


def test_a_chain_longer_than_any_real_one_is_refused(check, root):
    above, chain = root, []
    for number in range(MAX_CHAIN):
        above = party(f"level {number}", key=rsa_key("level"), issuer=above, ca=True)
        chain.append(above)
    assert "nothing leads from there" in check(party(issuer=above), extra=chain, file=[root])
    assert check(party(issuer=chain[-2]), extra=chain[:-1], file=[root]) == "opened"


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_ca_file_without_certificates_lets_nobody_in(tmp_path, content):
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(TrustError, match="cannot be used") as caught:
        open_envelope("PKCS7/JSON", armour(signed(party())), policy=SignerPolicy(ca_file=str(path)), now=NOW)
    assert str(path) in caught.value.message


def test_a_ca_file_that_is_missing_or_endless_lets_nobody_in(tmp_path):
    large = tmp_path / "large.pem"
    large.write_bytes(party().pem + b"\n" * MAX_CA_FILE)
    for path in (tmp_path / "missing.pem", tmp_path, large, "\0"):
        with pytest.raises(TrustError, match="cannot be used"):
            open_envelope("PKCS7/JSON", armour(signed(party())), policy=SignerPolicy(ca_file=str(path)), now=NOW)
