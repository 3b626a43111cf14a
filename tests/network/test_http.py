"""Requests over real sockets, and every way in which the other side can let us down."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent import __version__
from agent.network.answer import MOST_WITHOUT_CONTENT
from agent.network.explain import RequestTarget, network_error
from agent.network.http import HttpClient, HttpOptions, MinimumRate, NetworkError, NetworkReason
from wire_server import Answer, Authority, running_server

UNKNOWN_HOST = ".".join(["a" * 60] * 5)  # longer than a name may be, so that no name server is asked


@pytest.fixture
def server():
    with running_server() as running:
        yield running


@pytest.fixture
def client():
    made = HttpClient()
    yield made
    made.close()


def failure(client, url, **options):
    with pytest.raises(NetworkError) as caught:
        client.request("GET", url, **options).read()
    return caught.value


def test_an_answer_comes_with_status_headers_and_body(server, client):
    server.will(Answer(status=404, headers={"X-Amz-Request-Id": "7"}, body=b"nothing"))
    with client.request("POST", server.url + "/a?b=c", headers={"X-One": "1"}, body=b"question") as response:
        assert (response.status, response.headers["x-amz-REQUEST-id"]) == (404, "7")
        assert response.read() == b"nothing"
    request = server.requests[0]
    assert (request.method, request.target, request.body) == ("POST", "/a?b=c", b"question")
    assert request.headers["x-one"] == "1"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["user-agent"] == f"codedeploy-host-agent/{__version__}"


def test_a_name_of_the_caller_stands_in_the_place_of_ours(server, client):
    client.request("GET", server.url, headers={"user-agent": "other", "HOST": "name"}).read()
    assert server.requests[0].headers["user-agent"] == "other"
    assert server.requests[0].headers["host"] == "name"
    assert [name.lower() for name in server.requests[0].names].count("user-agent") == 1


def test_a_path_is_sent_as_it_was_signed(server, client):
    client.request("GET", server.url + "/bucket/a/../b//c%20%2B?versionId=x%2Fy&list").read()
    assert server.requests[0].target == "/bucket/a/../b//c%20%2B?versionId=x%2Fy&list"


def test_a_poll_does_not_connect_anew_each_time(server, client):
    for _ in range(3):
        client.request("POST", server.url, body=b"{}").read()
    assert server.connections == 1


def test_a_request_that_differs_from_the_last_is_not_taken_for_it(server, client):
    asked = [("POST", "1", b"{}"), ("POST", "1", b"[]"), ("POST", "2", b"[]"), ("PUT", "2", b"[]"), ("PUT", "2", b"[]")]
    for method, value, body in asked:
        client.request(method, server.url, headers={"X-One": value}, body=body).read()
    assert [(each.method, each.headers["x-one"], each.body) for each in server.requests] == asked


def test_a_header_that_its_owner_changes_after_the_request_is_sent_as_it_is_then(server, client):
    headers = {"X-One": "1"}
    client.request("GET", server.url, headers=headers).read()
    headers["X-One"] = "2"
    client.request("GET", server.url, headers=headers).read()
    assert [each.headers["x-one"] for each in server.requests] == ["1", "2"]


def test_words_that_nobody_asked_for_are_not_taken_for_the_next_answer(server, client):
    # As load balancers do before they close an idle connection.
    server.will(Answer(), Answer(body=b"second"))
    client.request("GET", server.url).read()
    [kept] = [each.sock for each in client._open._connections]
    server.say(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    assert select.select([kept], [], [], 30)[0]
    assert client.request("GET", server.url).read() == b"second"
    assert server.connections == 2


def test_a_connection_that_the_server_wants_closed_is_not_used_again(server, client):
    server.will(Answer(headers={"Connection": "close"}, body=b"last"))  # and it leaves the closing to us
    assert client.request("GET", server.url).read() == b"last"
    client.request("GET", server.url).read()
    assert server.connections == 2


def test_an_answer_of_unknown_length_ends_with_its_connection(server, client):
    server.will(Answer(raw=b"HTTP/1.1 200 OK\r\n\r\nto the end", close_after=True), Answer(body=b"next"))
    assert client.request("GET", server.url).read() == b"to the end"
    assert client.request("GET", server.url).read() == b"next"
    assert server.connections == 2


def test_an_answer_read_in_pieces_leaves_the_connection_for_the_next(server, client):
    server.will(Answer(body=b"abcdefg"))
    assert list(client.request("GET", server.url).chunks(3)) == [b"abc", b"def", b"g"]
    client.request("GET", server.url).read()
    assert server.connections == 1


def test_the_size_of_an_object_can_be_asked_without_reading_it(server, client):
    server.will(Answer(headers={"ETag": "x"}, announce=10**12), Answer(body=b"next"))
    with client.request("HEAD", server.url) as response:
        assert (response.headers["Content-Length"], response.read()) == (str(10**12), b"")
    assert client.request("GET", server.url).read() == b"next"
    assert server.connections == 1


def test_what_one_reader_leaves_unread_is_not_read_by_the_next(server, client):
    server.will(Answer(body=b"first" * 100000), Answer(body=b"second"))
    with client.request("GET", server.url) as response:
        for _ in response.chunks(10):
            break
    assert client.request("GET", server.url).read() == b"second"


def test_a_large_request_arrives_whole(server, client):
    body = bytes(range(256)) * 2000
    client.request("PUT", server.url, body=body).read()
    assert server.requests[0].body == body


def test_a_connection_that_the_server_closed_between_two_requests_fails_none(server, client):
    server.will(Answer(close_after=True), Answer(body=b"second"))
    client.request("GET", server.url).read()
    assert client.request("GET", server.url).read() == b"second"
    assert server.connections == 2


def test_a_connection_that_is_closed_under_the_second_request_fails_none(server, client):
    server.will(Answer(), Answer(hang_up=True), Answer(body=b"at last"))
    client.request("GET", server.url).read()
    assert client.request("POST", server.url, body=b"again").read() == b"at last"
    assert [request.connection for request in server.requests] == [1, 1, 2]
    assert server.requests[2].body == b"again"


def test_a_connection_that_is_reset_under_the_second_request_fails_none(server, client):
    server.will(Answer(), Answer(reset=True), Answer(body=b"at last"))
    client.request("GET", server.url).read()
    assert client.request("POST", server.url, body=b"again").read() == b"at last"


@pytest.mark.needs("localhost")
def test_a_kept_tls_connection_that_is_closed_fails_no_request(tmp_path):
    authority = Authority(tmp_path)
    with running_server(tls=authority.server_context("localhost")) as server:
        server.will(Answer(), Answer(hang_up=True), Answer(body=b"at last"))
        client = HttpClient(HttpOptions(ca_bundle=authority.path))
        client.request("GET", f"https://localhost:{server.port}/").read()
        assert client.request("GET", f"https://localhost:{server.port}/").read() == b"at last"


@pytest.mark.parametrize("fault", [Answer(hang_up=True), Answer(reset=True)])
def test_a_request_that_fails_on_a_fresh_connection_is_not_sent_twice(server, client, fault):
    server.will(fault, Answer())
    error = failure(client, server.url)
    assert error.reason is NetworkReason.BROKEN
    assert f"127.0.0.1:{server.port}" in str(error)
    assert len(server.requests) == 1


def test_a_request_is_sent_again_once_at_most(server, client):
    server.will(Answer(), Answer(hang_up=True), Answer(hang_up=True), Answer())
    client.request("GET", server.url).read()
    assert failure(client, server.url).reason is NetworkReason.BROKEN
    assert len(server.requests) == 3


def test_a_request_whose_answer_had_begun_is_not_sent_twice(server, client):
    server.will(Answer(), Answer(raw=b"HTTP/1.", close_after=True), Answer())
    client.request("GET", server.url).read()
    assert failure(client, server.url).reason is NetworkReason.BROKEN
    assert len(server.requests) == 2


def test_a_request_on_a_connection_that_was_made_again_is_not_sent_twice(server, client):
    server.will(Answer(headers={"Connection": "close"}, close_after=True), Answer(hang_up=True), Answer())
    client.request("GET", server.url).read()
    assert failure(client, server.url).reason is NetworkReason.BROKEN
    assert len(server.requests) == 2


def test_connections_that_were_used_side_by_side_are_all_kept(server, client):
    server.otherwise = Answer(body=b"x")
    for _ in range(3):
        for response in [client.request("GET", server.url) for _ in range(8)]:
            response.read()
    assert server.connections == 8


def test_several_kept_connections_that_are_closed_together_fail_no_request(server, client):
    responses = [client.request("GET", server.url) for _ in range(4)]
    for response in responses:
        response.read()
    server.will(*[Answer(hang_up=True)] * 1, Answer(body=b"fresh"))
    assert client.request("GET", server.url).read() == b"fresh"
    assert server.connections == 5


def test_a_short_body_is_not_taken_for_a_whole_one(server, client):
    server.will(Answer(body=b"0123456789", cut=4))
    error = failure(client, server.url)
    assert error.reason is NetworkReason.BROKEN
    assert "shorter than announced" in str(error)


def test_a_short_download_is_not_taken_for_a_whole_one(server, client):
    server.will(Answer(body=b"0123456789", cut=4))
    pieces = []
    with pytest.raises(NetworkError) as caught:
        pieces += client.request("GET", server.url).chunks(2)
    assert caught.value.reason is NetworkReason.BROKEN


def test_a_chunked_body_that_breaks_off_is_not_taken_for_a_whole_one(server, client):
    server.will(Answer(body=b"0123456789", chunked=True, cut=4), Answer(body=b"whole", chunked=True))
    assert failure(client, server.url).reason is NetworkReason.BROKEN
    assert client.request("GET", server.url).read() == b"whole"


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_without_end_does_not_fill_the_memory(server, client, chunked):
    server.will(Answer(body=b"x" * 5000, chunked=chunked), Answer(body=b"x" * 4999))
    with pytest.raises(NetworkError) as caught:
        client.request("GET", server.url).read(4999)
    assert caught.value.reason is NetworkReason.TOO_LARGE
    assert len(client.request("GET", server.url).read(4999)) == 4999


def test_an_announced_length_that_is_absurd_is_refused_before_reading(server, client):
    server.will(Answer(body=b"x", announce=10**15))
    assert failure(client, server.url).reason is NetworkReason.TOO_LARGE


@pytest.mark.parametrize(
    "raw",
    [
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 100000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_an_error_that_names_the_host(server, client, raw):
    server.will(Answer(raw=raw, close_after=True))
    error = failure(client, server.url)
    assert error.reason is NetworkReason.BROKEN
    assert f"127.0.0.1:{server.port}" in str(error)


def test_a_server_that_says_nothing_does_not_hold_us_for_ever(server, client):
    release = threading.Event()
    server.will(Answer(wait=release))
    error = failure(client, server.url, read_timeout=0.05)
    release.set()
    assert error.reason is NetworkReason.TIMEOUT
    assert f"127.0.0.1:{server.port} sent no whole answer within 0.05 s" in str(error)


def test_a_body_that_stops_coming_does_not_hold_us_for_ever(server, client):
    release = threading.Event()
    server.will(Answer(body=b"late", pause=release))
    error = failure(client, server.url, read_timeout=0.05)
    release.set()
    assert error.reason is NetworkReason.TIMEOUT


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
LATE = b"X-A: " + b"b" * 400 + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "at_once"),
    [
        (b"HTTP/1.1 200 " + b"O" * 400, 0),
        (HEAD + LATE, len(HEAD)),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + HEAD + LATE, 60),
        (HEAD + b"\r\n190\r\n" + b"b" * 400 + b"\r\n0\r\n\r\n", len(HEAD) + 2),
        (HEAD + b"\r\n" + b"1\r\nb\r\n" * 70 + b"0\r\n\r\n", len(HEAD) + 20),
        (HEAD + b"\r\n0\r\n" + LATE, len(HEAD) + 6),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n" + b"b" * 400, 40),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"b" * 400, 20),
    ],
    ids=["status", "headers", "interim", "chunk", "chunks", "trailer", "body", "endless body"],
)
@pytest.mark.parametrize("kept", [False, True])
def test_an_answer_that_drips_does_not_hold_us_for_ever(server, client, answer, at_once, kept):
    if kept:
        client.request("GET", server.url).read()
    server.will(Answer(raw=answer, drip=at_once, close_after=True))
    error = failure(client, server.url, read_timeout=0.3)
    assert error.reason is NetworkReason.TIMEOUT
    assert "no whole answer within 0.3 s" in error.message


@pytest.mark.needs("localhost")
def test_an_answer_that_drips_over_tls_does_not_hold_us_for_ever(tmp_path):
    authority = Authority(tmp_path)
    with running_server(tls=authority.server_context("localhost")) as server:
        server.will(Answer(body=b"b" * 400, drip=0))
        client = HttpClient(HttpOptions(ca_bundle=authority.path))
        error = failure(client, f"https://localhost:{server.port}/", read_timeout=0.3)
        client.close()
    assert error.reason is NetworkReason.TIMEOUT


def test_a_server_that_takes_no_request_does_not_hold_us_for_ever(client):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        with pytest.raises(NetworkError) as caught:
            client.request("PUT", url, body=bytes(1 << 26), connect_timeout=0.3)
    assert caught.value.reason is NetworkReason.TIMEOUT
    assert "did not take a request within 0.3 s" in caught.value.message


def test_a_download_may_take_longer_than_one_answer_if_it_keeps_coming(server, client):
    server.will(Answer(body=b"b" * 12, drip=0))
    with client.request("GET", server.url, read_timeout=600) as response:
        response._limits._until = 0  # the time for a whole answer is over
        assert b"".join(response.chunks(1)) == b"b" * 12


def test_a_download_that_drips_is_given_up_at_the_least_rate(server):
    client = HttpClient(HttpOptions(minimum_rate=MinimumRate(1024, 0.3)))
    server.will(Answer(body=b"b" * 400, drip=40))
    with pytest.raises(NetworkError, match=r"sent only \d+ bytes in ") as caught:
        list(client.request("GET", server.url).chunks())
    client.close()
    assert caught.value.reason is NetworkReason.TIMEOUT


@pytest.mark.parametrize("flood", [b"X-A: b\r\n", b"1;" + b"a" * 60000 + b"\r\nb\r\n"], ids=["trailer", "extensions"])
def test_a_download_of_anything_but_content_is_given_up(server, client, flood):
    begin = b"0\r\n" if flood.startswith(b"X") else b""
    flood *= MOST_WITHOUT_CONTENT // len(flood) + 2
    server.will(Answer(raw=HEAD + b"\r\n" + begin + flood, close_after=True))
    with pytest.raises(NetworkError, match="without any content"):
        list(client.request("GET", server.url).chunks())


def test_a_time_of_nothing_is_an_error_and_no_crash(server, client):
    release = threading.Event()
    server.will(Answer(wait=release))
    assert failure(client, server.url, read_timeout=0).reason is NetworkReason.TIMEOUT
    release.set()


def test_a_download_that_goes_silent_is_given_up(server, client):
    release = threading.Event()
    server.will(Answer(body=b"late", pause=release))
    with pytest.raises(NetworkError, match="sent nothing for"):
        list(client.request("GET", server.url, read_timeout=0.3).chunks())
    release.set()


def test_a_download_without_an_announced_end_is_not_taken_for_whole_when_the_client_is_closed(server, client):
    server.will(Answer(raw=b"HTTP/1.1 200 OK\r\n\r\nhalf"))
    pieces = client.request("GET", server.url).chunks(4)
    assert next(pieces) == b"half"
    client.close()
    with pytest.raises(NetworkError, match="was cancelled"):
        next(pieces)


def test_a_host_that_does_not_accept_does_not_hold_us_for_ever(client):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        error = failure(client, f"http://127.0.0.1:{full.getsockname()[1]}/", connect_timeout=0.1)
        for each in waiting:
            each.close()
    assert error.reason is NetworkReason.TIMEOUT
    assert "No connection" in str(error)


def test_a_port_where_nobody_listens_is_named(client):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        error = failure(client, f"http://127.0.0.1:{port}/")
    assert error.reason is NetworkReason.CONNECT
    assert f"127.0.0.1:{port}" in error.message
    assert "refused" in error.message
    assert error.remedy


def test_a_name_that_does_not_exist_is_named(client):
    error = failure(client, f"http://{UNKNOWN_HOST}/")
    assert error.reason is NetworkReason.DNS
    assert UNKNOWN_HOST in error.message
    assert "resolv.conf" in error.remedy


def test_a_name_server_that_does_not_answer_is_not_taken_for_an_unknown_name():
    target = RequestTarget("service.test", 443, None, 1)
    error = network_error(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), target)
    assert error.reason is NetworkReason.DNS
    assert "for now" in error.message


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/",
        "ftp://host:21/",
        "nothing",
        "http://",
        "http://host:99999/",
        "http://user:secret@host/",
        "http://[::1/",
    ],
)
def test_what_is_no_url_is_an_error_that_repeats_no_password(client, url):
    error = failure(client, url)
    assert error.reason is NetworkReason.CONNECT
    assert "secret" not in str(error)


@pytest.mark.parametrize("host", ["a" * 80, "a..b"])
def test_a_host_that_cannot_be_one_is_an_error_and_no_crash(client, host):
    assert failure(client, f"http://{host}/").reason in (NetworkReason.CONNECT, NetworkReason.DNS)


@pytest.mark.parametrize("value", ["a\nX-Forged: b", "a\r\n\r\nGET /", "\u65e5", "\udcff"])
def test_no_value_forges_a_header_and_none_crashes_the_agent(server, client, value):
    with pytest.raises(NetworkError, match="cannot be sent"):
        client.request("GET", server.url, headers={"If-Match": value})
    assert client.request("GET", server.url).status == 200
    assert len(server.requests) == 1


@pytest.mark.parametrize("path", ["/a b", "/a\nb", "/\u65e5", "/%zz", "/a?b c#d"])
def test_no_path_forges_a_request_and_none_crashes_the_agent(server, client, path):
    assert client.request("GET", server.url + path).status == 200
    assert all(c.isprintable() and c.isascii() for c in server.requests[0].target)


def test_a_redirection_is_left_to_the_caller(server, client):
    server.will(Answer(status=302, headers={"Location": server.url + "/elsewhere"}))
    response = client.request("GET", server.url)
    assert (response.status, response.headers["Location"]) == (302, server.url + "/elsewhere")
    response.read()
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_error_status_is_an_answer_and_not_repeated(server, client, status):
    server.otherwise = Answer(status=status, headers={"Retry-After": "0"})
    assert client.request("GET", server.url).status == status
    assert len(server.requests) == 1


@pytest.mark.needs("localhost")
@pytest.mark.parametrize("over_tls", [False, True])
def test_a_long_poll_is_ended_at_once_by_a_stop(tmp_path, over_tls):
    authority = Authority(tmp_path)
    release = threading.Event()
    with running_server(tls=authority.server_context("localhost") if over_tls else None) as server:
        server.will(Answer(wait=release))
        client = HttpClient(HttpOptions(ca_bundle=authority.path))
        with ThreadPoolExecutor(1) as pool:
            scheme = "https" if over_tls else "http"
            poll = pool.submit(failure, client, f"{scheme}://localhost:{server.port}/", read_timeout=3600)
            server.wait_for(1)
            client.close()
            error = poll.result()
        release.set()
    assert error.reason is NetworkReason.BROKEN
    assert "was cancelled" in str(error)


def test_a_client_that_was_closed_keeps_no_connection(server, client):
    server.will(Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"))
    response = client.request("GET", server.url)
    [connection] = client._open._connections
    client.close()
    with contextlib.suppress(NetworkError):  # the body has come with the head, as a rule
        assert response.read() == b"body"
    assert connection.sock is None


def test_a_client_that_was_closed_connects_no_more(server, client):
    client.close()
    assert failure(client, server.url).reason is NetworkReason.BROKEN
    HttpClient().request("GET", server.url).read()  # the server accepts in order, so it has seen all by now
    assert server.connections == 1


@pytest.mark.needs("localhost")
def test_a_client_that_is_closed_while_it_connects_sends_nothing(tmp_path):
    authority = Authority(tmp_path)
    context = authority.server_context("localhost")
    with running_server(tls=context) as server:
        client = HttpClient(HttpOptions(ca_bundle=authority.path))

        def stop(*_):
            client.close()

        context.sni_callback = stop  # in the middle of the handshake
        error = failure(client, f"https://localhost:{server.port}/")
        assert server.requests == []
    assert "was cancelled" in str(error)


def test_a_verbose_log_does_not_show_the_token_of_a_download(server, client, caplog):
    caplog.set_level(logging.DEBUG)
    client.request("GET", server.url + "/x?token=secret").read()
    assert "secret" not in caplog.text


def test_parallel_downloads_do_not_mix(server, client):
    server.otherwise = lambda request: Answer(body=request.target.encode() * 10000)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: client.request("GET", f"{server.url}/{n}").read(), range(40)))
    assert answers == [f"/{n}".encode() * 10000 for n in range(40)]


def test_no_program_that_is_started_inherits_a_connection(server, client):
    client.request("GET", server.url).read()
    held = [each.sock for each in client._open._connections]
    assert held
    assert not any(sock.get_inheritable() for sock in held)
    assert all(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for sock in held)
