"""Signed messages read out of BER, within limits for everything that a sender could make large.

The service sends BER (ITU-T X.690) with indefinite lengths and strings in pieces, which readers of DER refuse. What
could cost time or memory out of proportion is refused here: nesting, the number of elements, long forms of tags and
lengths that signed messages have no use for.
"""

from __future__ import annotations

from typing import NamedTuple

from agent.trust.errors import TrustError, damaged

MAX_DEPTH = 24
"""Levels of nesting; a certificate inside a signed message takes about twelve."""

MAX_ELEMENTS = 20_000
"""Elements of a whole message; a certificate has about a hundred."""

_MAX_LENGTH_OCTETS = 4
_MAX_OID_OCTETS = 40

CONSTRUCTED = 0x20
INTEGER, OCTET_STRING, OID = 0x02, 0x04, 0x06
SEQUENCE, SET = 0x30, 0x31


class Element(NamedTuple):
    """One element: its identifier octet, and its octets as they were received.

    ``content`` lies between the header and the end; ``children`` is empty unless the element is constructed.
    ``encoded`` is the whole element. Nothing is copied.
    """

    identifier: int
    content: memoryview
    children: tuple[Element, ...]
    encoded: memoryview


def read(data: bytes) -> Element:
    """Read one element that fills all of ``data``. Raises TrustError for anything else."""
    element, end = _Reader(data).element(0, len(data), 0)
    if end != len(data):
        raise damaged(f"{len(data) - end} bytes follow its end")
    return element


def octets(element: Element, what: str) -> bytes:
    """The value of an OCTET STRING, in one piece or in many. Raises TrustError, which names ``what`` it should be."""
    return b"".join(_pieces(element, what))


def implicit_octets(element: Element, what: str) -> bytes:
    """The value of an OCTET STRING under a tag of its own, which replaces the usual one."""
    if element.identifier & CONSTRUCTED:
        return b"".join(octets(child, what) for child in element.children)
    return bytes(element.content)


def _pieces(element: Element, what: str) -> list[memoryview]:
    if element.identifier == OCTET_STRING:
        return [element.content]
    if element.identifier != OCTET_STRING | CONSTRUCTED:
        raise damaged(f"{what} is not an octet string")
    return [piece for child in element.children for piece in _pieces(child, what)]


def object_identifier(element: Element, what: str) -> str:
    """An OBJECT IDENTIFIER as dotted numbers. Raises TrustError, which names ``what`` it should be."""
    content = bytes(element.content)
    if element.identifier != OID or not 0 < len(content) <= _MAX_OID_OCTETS or content[-1] & 0x80:
        raise damaged(f"{what} is not an object identifier")
    numbers, number = [], 0
    for octet in content:
        number = number << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(number)
            number = 0
    top = min(numbers[0] // 40, 2)
    return ".".join(map(str, [top, numbers[0] - 40 * top, *numbers[1:]]))


def integer(element: Element, what: str) -> int:
    """An INTEGER. Raises TrustError, which names ``what`` it should be."""
    if element.identifier != INTEGER or not 0 < len(element.content) <= 64:
        raise damaged(f"{what} is not a plain number")
    return int.from_bytes(element.content, "big", signed=True)


def der(element: Element) -> bytes:
    """The same element in definite lengths and strings in one piece, as signatures are made over it.

    The order of a set's members stays as received.
    """
    if element.identifier == OCTET_STRING | CONSTRUCTED:
        return emit(OCTET_STRING, octets(element, "a string"))
    if element.identifier & CONSTRUCTED:
        return emit(element.identifier, b"".join(map(der, element.children)))
    return emit(element.identifier, element.content)


def emit(identifier: int, content: bytes | memoryview) -> bytes:
    """One element in the shortest definite form."""
    length = len(content)
    if length < 0x80:
        return bytes((identifier, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((identifier, 0x80 | len(size))) + size + content


class _Reader:
    """Reads the elements of one message and counts them."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._left = MAX_ELEMENTS

    def element(self, at: int, limit: int, depth: int) -> tuple[Element, int]:
        """The element that begins at ``at`` and ends at ``limit`` or before, and where it ends."""
        self._count(depth)
        start, identifier = at, self._octet(at, limit)
        if identifier & 0x1F == 0x1F or identifier == 0:
            raise damaged(f"byte {at} begins an element of a kind that signed messages do not have")
        length, at = self._length(at + 1, limit)
        if length is None:
            if not identifier & CONSTRUCTED:
                raise damaged(f"the length of the plain element at byte {start} is left open")
            children, content_end, end = self._children_until_mark(at, limit, depth)
        else:
            content_end = end = at + length
            if end > limit:
                raise damaged(f"it ends within the element at byte {start}")
            children = self._children(at, end, depth) if identifier & CONSTRUCTED else ()
        return Element(identifier, self._data[at:content_end], children, self._data[start:end]), end

    def _children(self, at: int, end: int, depth: int) -> tuple[Element, ...]:
        found = []
        while at < end:
            child, at = self.element(at, end, depth + 1)
            found.append(child)
        return tuple(found)

    def _children_until_mark(self, at: int, limit: int, depth: int) -> tuple[tuple[Element, ...], int, int]:
        """The children up to the two zero bytes that end an open length, where those begin, and where they end."""
        found = []
        while self._octet(at, limit) or self._octet(at + 1, limit):
            child, at = self.element(at, limit, depth + 1)
            found.append(child)
        return tuple(found), at, at + 2

    def _length(self, at: int, limit: int) -> tuple[int | None, int]:
        """The length that stands at ``at``, None for an open one, and where the content begins.

        A length that breaks off leads beyond the limit, however it is read.
        """
        first = self._octet(at, limit)
        if first < 0x80:
            return first, at + 1
        if first == 0x80:
            return None, at + 1
        count = first & 0x7F
        if count > _MAX_LENGTH_OCTETS:
            raise damaged(f"the length at byte {at} has {count} octets")
        return int.from_bytes(self._data[at + 1 : at + 1 + count], "big"), at + 1 + count

    def _octet(self, at: int, limit: int) -> int:
        if at >= limit:
            raise damaged(f"it breaks off at byte {at}")
        return self._data[at]

    def _count(self, depth: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise TrustError(
                f"The signed deployment specification has more than {MAX_ELEMENTS} parts.",
                remedy="The service sends no such message: look at proxy_uri and deploy_control_endpoint.",
            )
        if depth > MAX_DEPTH:
            raise damaged(f"it is nested deeper than {MAX_DEPTH} levels")
