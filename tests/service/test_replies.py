"""What an operator reads when the service refuses: the kind of the error, its cause, and a remedy."""

from __future__ import annotations

import json
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.response import HTTPHeaderDict

from agent.service.errors import ServiceError, ServiceErrorKind
from agent.service.replies import clock_skew, error_for

JSON = st.none() | st.integers() | st.text() | st.lists(st.text())


def encoded(value):
    return json.dumps(value).encode()


NOW = 1_795_000_000.0


def judged(status, body=b"", *, skew=0.0, **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    found = HTTPHeaderDict({"Date": formatdate(NOW - skew, usegmt=True), **names})
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = error_for("PollHostCommand", status, found, data, now=NOW)
    assert "PollHostCommand" in error.message
    assert str(status) in error.message
    assert error.status == status
    assert error.remedy
    return error


@pytest.mark.parametrize(
    ("status", "code", "kind", "passing"),
    [
        (400, "ThrottlingException", ServiceErrorKind.THROTTLED, True),
        (400, "Throttling", ServiceErrorKind.THROTTLED, True),
        (400, "TooManyRequestsException", ServiceErrorKind.THROTTLED, True),
        (400, "RequestLimitExceeded", ServiceErrorKind.THROTTLED, True),
        (503, "ThrottledException", ServiceErrorKind.THROTTLED, True),
        (429, "", ServiceErrorKind.THROTTLED, True),
        (400, "UnrecognizedClientException", ServiceErrorKind.CREDENTIALS, False),
        (403, "InvalidSignatureException", ServiceErrorKind.CREDENTIALS, False),
        (403, "ExpiredTokenException", ServiceErrorKind.CREDENTIALS, False),
        (400, "ExpiredToken", ServiceErrorKind.CREDENTIALS, False),
        (400, "AccessDeniedException", ServiceErrorKind.CREDENTIALS, False),
        (403, "AccessDenied", ServiceErrorKind.CREDENTIALS, False),
        (400, "IncompleteSignatureException", ServiceErrorKind.CREDENTIALS, False),
        (403, "MissingAuthenticationTokenException", ServiceErrorKind.CREDENTIALS, False),
        (400, "RequestExpired", ServiceErrorKind.CLOCK, False),
        (400, "ClientException", ServiceErrorKind.CLIENT, False),
        (404, "", ServiceErrorKind.CLIENT, False),
        (413, "", ServiceErrorKind.CLIENT, False),
        (500, "ServerException", ServiceErrorKind.SERVER, True),
        (500, "", ServiceErrorKind.SERVER, True),
        (503, "ServiceUnavailableException", ServiceErrorKind.SERVER, True),
    ],
)
def test_every_error_is_of_the_kind_that_decides_what_happens_next(status, code, kind, passing):
    error = judged(status, {"__type": code, "message": "why"} if code else b"")
    assert (error.kind, error.service_code, error.passing) == (kind, code, passing)
    if code:
        assert f"{code} (why)" in error.message
        assert error.service_message == "why"


@pytest.mark.parametrize(
    "named",
    [
        "InvalidSignatureException",
        "com.amazon.coral.service#InvalidSignatureException",
        "InvalidSignatureException:http://x/",
    ],
)
def test_the_name_of_an_error_is_found_wherever_it_stands(named):
    assert judged(403, {"__type": named}).service_code == "InvalidSignatureException"
    assert judged(403, {"Message": "why"}, x_amzn_errortype=named).service_code == "InvalidSignatureException"


@pytest.mark.parametrize("member", ["message", "Message", "errorMessage"])
def test_the_text_of_an_error_is_found_wherever_it_stands(member):
    assert "the reason" in judged(400, {member: "the reason"}).message


def test_a_throttling_is_known_by_its_text_too():
    assert judged(400, {"__type": "ClientException", "message": "Rate exceeded"}).kind is ServiceErrorKind.THROTTLED


def test_a_wrong_clock_is_named_with_the_time_by_which_it_is_wrong():
    text = "Signature expired: 20261123T000000Z is now earlier than 20261123T001000Z"
    error = judged(403, {"__type": "InvalidSignatureException", "message": text}, skew=-754)
    assert error.kind is ServiceErrorKind.CLOCK
    assert "The clock of this host is 12 min 34 s behind." in error.message
    assert "chrony" in error.remedy


def test_a_clock_that_is_ahead_is_named_as_such():
    text = "Signature not yet current: 20261124T000000Z is still later than 20261123T000500Z"
    error = judged(403, {"__type": "InvalidSignatureException", "message": text}, skew=2 * 86400 + 3 * 3600 + 5)
    assert "2 d 3 h ahead" in error.message


def test_a_refused_signature_is_blamed_on_the_clock_when_the_clock_is_wrong():
    assert judged(403, {"__type": "InvalidSignatureException"}, skew=400).kind is ServiceErrorKind.CLOCK
    assert judged(403, {"__type": "InvalidSignatureException"}, skew=-400).kind is ServiceErrorKind.CLOCK
    assert judged(403, {"__type": "InvalidSignatureException"}, skew=200).kind is ServiceErrorKind.CREDENTIALS


def test_a_missing_permission_is_not_blamed_on_the_clock():
    error = judged(400, {"__type": "AccessDeniedException"}, skew=400)
    assert error.kind is ServiceErrorKind.CREDENTIALS
    assert "codedeploy-commands-secure" in error.remedy


def test_expired_credentials_point_to_what_renews_them():
    assert "renews" in judged(400, {"__type": "ExpiredTokenException"}).remedy


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Foo 2026 99:99:99 GMT", "-" * 5000])
def test_a_date_that_is_none_is_no_crash(date):
    assert clock_skew({"Date": date}, NOW) is None
    error = error_for("PollHostCommand", 400, {"Date": date}, b'{"__type":"RequestExpired"}', now=NOW)
    assert error.kind is ServiceErrorKind.CLOCK


def test_a_page_of_a_proxy_is_not_taken_for_the_services_word():
    error = judged(403, b"<html><b>blocked by policy</b></html>", Content_Type="text/html")
    assert error.kind is ServiceErrorKind.CLIENT
    assert "a page of type text/html" in error.message
    assert "proxy" in error.remedy
    assert "<b>" not in str(error)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"\xff", b'{"__type":5,"message":{}}', b"[" * 100000])
def test_a_body_that_explains_nothing_is_no_crash(body):
    assert judged(500, body).kind is ServiceErrorKind.SERVER


def test_a_redirection_is_not_obeyed_but_explained():
    error = judged(302, b"", Location="https://portal.example/login?token=secret")
    assert error.kind is ServiceErrorKind.PROTOCOL
    assert "https://portal.example/login" in error.message
    assert "secret" not in str(error)


@given(
    st.integers(201, 599),
    st.binary() | st.dictionaries(st.sampled_from(["__type", "message", "Message"]), JSON).map(encoded),
    st.dictionaries(st.sampled_from(["Date", "x-amzn-errortype", "Location", "Content-Type"]), st.text()),
)
def test_no_answer_crashes_the_agent(status, body, headers):
    error = error_for("PollHostCommand", status, headers, body, now=NOW)
    assert isinstance(error, ServiceError)
    assert "\n" not in error.message


def test_a_text_cannot_forge_lines_of_the_log_or_fill_it():
    error = judged(400, {"__type": "X" * 5000, "message": "a\nFAKE LINE\x1b[2J" + "b" * 100000})
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 1000
