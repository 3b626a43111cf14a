from __future__ import annotations

import tracemalloc

import pytest
from asn1crypto import core
from hypothesis import given
from hypothesis import strategies as st

from agent.trust.ber import MAX_DEPTH, MAX_ELEMENTS, der, emit, integer, object_identifier, octets, read
from agent.trust.errors import TrustError

STRING_IN_PIECES = bytes.fromhex("2480 0403616263 2480 0401 64 0000 2402 0400 0000")


def test_a_string_in_pieces_of_pieces_is_put_together():
    assert octets(read(STRING_IN_PIECES), "it") == b"abcd"
    assert der(read(STRING_IN_PIECES)) == b"\x04\x04abcd"


def test_open_lengths_become_definite_ones():
    assert der(read(bytes.fromhex("3080 3180 020105 0000 0500 0000"))) == bytes.fromhex("3007 3103 020105 0500")


def test_a_length_in_more_octets_than_it_needs_is_read():
    element = read(bytes.fromhex("04 84 00000002 4142"))
    assert bytes(element.content) == b"AB"
    assert der(element) == b"\x04\x02AB"


@given(st.binary(max_size=300))
def test_what_is_emitted_is_read_back_and_means_the_same_elsewhere(content):
    encoded = emit(0x04, content)
    assert octets(read(encoded), "it") == content
    assert core.OctetString.load(encoded, strict=True).native == content


@given(st.integers(min_value=-(2**200), max_value=2**200))
def test_numbers_are_read_as_they_are_written_elsewhere(number):
    assert integer(read(core.Integer(number).dump()), "it") == number


@given(st.tuples(st.integers(0, 2), st.integers(0, 39)), st.lists(st.integers(0, 2**40), max_size=5))
def test_object_identifiers_are_read_as_they_are_written_elsewhere(top, rest):
    dotted = ".".join(map(str, [*top, *rest]))
    assert object_identifier(read(core.ObjectIdentifier(dotted).dump()), "it") == dotted


BAD = {
    "nothing": "",
    "a header that breaks off": "30",
    "a content that breaks off": "3005 0500",
    "a length that breaks off": "3082 01",
    "a length beyond its parent": "3003 0403 41 00",
    "a length beyond everything": "0484 ffffffff",
    "a length of nine octets": "0489 010101010101010101",
    "a length of five octets": "0485 0000000001 41",
    "a reserved length": "04ff",
    "an open length of a plain element": "0480 0000",
    "an open length without an end": "3080 0500",
    "an open length with half an end": "3080 0500 00",
    "an open length whose end lies beyond its parent": "3003 3080 00 00",
    "an end mark where none can be": "3002 0000",
    "an end mark with a content": "3080 0001 41 0000",
    "an end mark with a length": "3080 0001",
    "a long form of a tag": "3f8101 00",
    "more data after it": "0500 00",
}


@pytest.mark.parametrize("attack", BAD)
def test_damage_is_refused(attack):
    with pytest.raises(TrustError):
        read(bytes.fromhex(BAD[attack]))


def test_a_tag_whose_number_never_ends_costs_no_time():
    with pytest.raises(TrustError, match="kind"):
        read(b"\x3f" + b"\xff" * 1_000_000)


@pytest.mark.parametrize(
    "nested",
    [
        b"\x30\x80" * 500_000,
        b"\x30\x80" * (MAX_DEPTH + 2) + b"\0\0" * (MAX_DEPTH + 2),
        b"\x24\x80" * 300_000 + b"\0\0" * 300_000,
    ],
)
def test_nesting_without_end_does_not_exhaust_the_stack(nested):
    with pytest.raises(TrustError, match="deeper"):
        read(nested)


def test_nesting_up_to_the_limit_is_read():
    assert der(read(b"\x30\x80" * (MAX_DEPTH + 1) + b"\0\0" * (MAX_DEPTH + 1)))


def test_more_elements_than_any_message_has_are_refused_before_they_fill_the_memory():
    many = emit(0x30, b"\x05\x00" * 400_000)
    tracemalloc.start()
    try:
        with pytest.raises(TrustError, match=str(MAX_ELEMENTS)):
            read(many)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_an_object_identifier_with_a_number_without_end_is_refused():
    with pytest.raises(TrustError, match="object identifier"):
        object_identifier(read(emit(0x06, b"\xff" * 900_000 + b"\x01")), "it")


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x2a\x86"])
def test_half_an_object_identifier_is_refused(content):
    with pytest.raises(TrustError, match="object identifier"):
        object_identifier(read(emit(0x06, content)), "it")


@pytest.mark.parametrize("encoded", [b"\x05\x00", emit(0x24, b"\x05\x00"), emit(0x24, emit(0x24, b"\x02\x01\x00"))])
def test_what_is_no_string_is_not_taken_for_one(encoded):
    with pytest.raises(TrustError, match="the content is not an octet string"):
        octets(read(encoded), "the content")


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(data):
    try:
        element = read(data)
    except TrustError:
        return
    assert read(der(element)).identifier in (element.identifier, element.identifier & ~0x20)
