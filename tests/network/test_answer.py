"""Heads of answers as servers, proxies and attackers write them: understood, or refused, and never guessed at."""

from __future__ import annotations

import http.client
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.network.answer import LARGEST_HEAD, MOST_LINES, Answer, AnswerLimits, NothingReadError


class Wire:
    """What ``http.client`` needs of a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(io.BytesIO(self._data))

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0


def answer(data: bytes, method: str = "GET") -> Answer:
    made = Answer(Wire(data), limits=AnswerLimits(600), method=method)
    made.begin()
    return made


def head(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (b"HTTP/1.1 204 No Content", *lines, b""))


def headers(*lines: bytes) -> dict[str, str]:
    return {name: ", ".join(found.get_all(name)) for found in [answer(head(*lines)).headers] for name in found}


def test_a_header_is_found_in_any_case_and_without_the_spaces_around_it():
    found = answer(b'HTTP/1.1 204 No\r\nX-One: \t a b \t\r\nETag:"x"\nX-Empty:\r\n\r\nrest').headers
    assert (found["x-one"], found["X-ONE"], found.get("etag"), found["x-empty"]) == ("a b", "a b", '"x"', "")
    assert found.get("other") is None


def test_headers_of_one_name_and_those_over_several_lines_are_put_together():
    assert headers(b"A: 1", b"B: 2", b"A: 3") == {"A": "1, 3", "B": "2"}
    assert headers(b"A: 1", b"  2", b"\t3", b"B: 4") == {"A": "1 2 3", "B": "4"}


def test_a_header_may_hold_any_letters():
    assert headers(b"A: \xe9") == {"A": "\xe9"}


@pytest.mark.parametrize(
    "lines",
    [
        [b"no colon"],
        [b"Content-Length : 5"],
        [b" A: continued from nothing"],
        [b": no name"],
        [b"A\x00: 1"],
        [b"A: 1\rContent-Length: 5"],
        [b"A: 1\x002"],
        [b"A\xe9: 1"],
        [b"A: " + b"b" * 70000],
        [b"A: b"] * (MOST_LINES + 1),
    ],
)
def test_a_line_that_two_readers_could_understand_differently_is_refused(lines):
    with pytest.raises(http.client.HTTPException):
        headers(*lines)


@pytest.mark.parametrize("data", [b"", b"A: 1", b"A: 1\r\n", b"A: 1\r\nContent-Len"])
def test_a_head_that_breaks_off_is_not_taken_for_a_whole_one(data):
    with pytest.raises(http.client.HTTPException):
        answer(b"HTTP/1.1 200 OK\r\n" + data)


def test_a_head_does_not_fill_the_memory():
    line = b"A: " + b"b" * 60000
    assert len(headers(*[line] * (LARGEST_HEAD // 60100))["A"]) > 200000
    with pytest.raises(http.client.HTTPException):
        headers(*[line] * (LARGEST_HEAD // 60000 + 1))


def test_a_line_of_spaces_does_not_keep_the_agent_busy():
    # In quadratic time this takes minutes; in linear time, less than a millisecond.
    assert headers(*[b"A: b" + b" " * 60000 + b"c"] * 4)["A"].startswith("b ")


def test_as_many_header_lines_as_the_standard_library_takes_are_taken():
    assert len(headers(*[b"A-%d: b" % number for number in range(MOST_LINES)])) == MOST_LINES


def test_an_answer_without_a_first_byte_is_told_from_one_that_breaks_off():
    with pytest.raises(NothingReadError):
        answer(b"")
    with pytest.raises(http.client.HTTPException):
        answer(b"H")


def framed(*lines: bytes, status: bytes = b"200 OK", version: bytes = b"1.1", method: str = "GET") -> Answer:
    head = b"HTTP/%s %s\r\n" % (version, status) + b"".join(line + b"\r\n" for line in lines)
    return answer(head + b"\r\n3\r\nabc\r\n0\r\n\r\n", method)


LENGTH, CHUNKED = b"Content-Length: 3", b"Transfer-Encoding: Chunked"
CLOSE, KEEP = b"Connection: x, Close", b"Connection: Keep-Alive"
WHOLE = b"3\r\nabc\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("made", "body", "kept"),
    [
        (lambda: framed(LENGTH), b"3\r\n", True),
        (lambda: framed(LENGTH, LENGTH), b"3\r\n", True),
        (lambda: framed(b"Content-Length: 3, 3"), b"3\r\n", False),
        (lambda: framed(LENGTH, b"Transfer-Encoding: identity"), b"3\r\n", True),
        (lambda: framed(b"Content-Length: 0"), b"", True),
        (lambda: framed(CHUNKED), b"abc", True),
        (lambda: framed(CHUNKED, LENGTH), b"abc", False),
        (lambda: framed(), WHOLE, False),
        (lambda: framed(LENGTH, CLOSE), b"3\r\n", False),
        (lambda: framed(LENGTH, version=b"1.0"), b"3\r\n", False),
        (lambda: framed(LENGTH, KEEP, version=b"1.0"), b"3\r\n", True),
        (lambda: framed(status=b"204 No Content"), b"", True),
        (lambda: framed(CHUNKED, status=b"304 Not Modified"), b"", True),
        (lambda: framed(LENGTH, method="HEAD"), b"", True),
        (lambda: framed(CHUNKED, method="HEAD"), b"", True),
        (lambda: framed(method="HEAD"), b"", True),
        (lambda: framed(LENGTH, status=b"200"), b"3\r\n", True),
    ],
)
def test_a_body_ends_where_its_head_says_and_only_then_is_the_connection_used_again(made, body, kept):
    found = made()
    pieces = []
    while piece := found.read(2):
        pieces.append(piece)
    assert (b"".join(pieces), not found.will_close) == (body, kept)


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length: 3, 4",
        b"Content-Length: -3",
        b"Content-Length: +3",
        b"Content-Length: 0x3",
        b"Content-Length: 3 4",
        b"Content-Length: 3,",
        b"Content-Length:",
        b"Content-Length: 1_0",
        "Content-Length: \xb2".encode("latin-1"),
        b"Content-Length: " + b"9" * 5000,
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding:",
    ],
)
def test_a_body_whose_end_is_not_clear_is_refused(line):
    with pytest.raises(http.client.HTTPException):
        framed(line)


@pytest.mark.parametrize("first", [b"HTTP/2 200 OK", b"HTTP/1.1 2x0", b"HTTP/1.1", b"ICY 200 OK", b"HTTP/1.1 99 x"])
def test_an_answer_in_another_protocol_is_refused(first):
    with pytest.raises(http.client.HTTPException):
        answer(first + b"\r\n\r\n")


def test_what_comes_before_the_answer_is_not_taken_for_it():
    found = answer(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n"
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"
    )
    assert (found.status, found.reason, found.read(10)) == (404, "Not Found", b"no")


def test_what_comes_before_the_answer_does_not_come_for_ever():
    with pytest.raises(http.client.HTTPException):
        answer(b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + b"HTTP/1.1 204 No Content\r\n\r\n")


@given(
    st.binary(max_size=300) | st.from_regex(rb"HTTP/1\.1 200 OK\r\n([A-Za-z-]{1,5}: ?[a-z]{0,3}\r\n){0,4}(\r\n.{0,9})?")
)
def test_no_head_crashes_the_agent(data):
    try:
        found = answer(data)
    except (http.client.HTTPException, NothingReadError):
        return
    assert found.status >= 200
