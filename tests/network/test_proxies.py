"""Proxies as operators set them: the address, the password, and what must not go through them."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.network.http import HttpClient, HttpOptions, NetworkError, NetworkReason
from agent.network.proxies import is_exempt, is_loopback, parse_proxy, proxy_for
from proxy_server import running_proxy
from wire_server import HALF_A_HANDSHAKE, Answer, Authority, running_server

UNKNOWN_HOST = ".".join(["a" * 60] * 5)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def tls_server(authority):
    with running_server(tls=authority.server_context("service.test")) as running:
        running.otherwise = Answer(body=b"hello")
        yield running


@pytest.fixture
def server():
    with running_server() as running:
        running.otherwise = Answer(body=b"hello")
        yield running


def failure(options, url, **arguments):
    with pytest.raises(NetworkError) as caught:
        HttpClient(options).request("GET", url, **arguments).read()
    return caught.value


def test_a_host_behind_a_proxy_reaches_the_service_through_a_tunnel(authority, tls_server):
    with running_proxy({"service.test": tls_server.port}) as proxy:
        client = HttpClient(HttpOptions(proxy=proxy.url, ca_bundle=authority.path))
        for _ in range(2):
            assert client.request("GET", "https://service.test/x").read() == b"hello"
        assert proxy.asked == ["CONNECT service.test:443"]
        # A small request does not wait for the acknowledgement of its head.
        assert all(c.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for c in client._open._connections)
        client.close()
    assert tls_server.requests[0].target == "/x"
    assert tls_server.requests[0].server_name == "service.test"
    assert tls_server.requests[0].headers["host"] == "service.test"


def test_a_plain_request_goes_through_the_proxy_too(server):
    with running_proxy({"service.test": server.port}, password="user:secret") as proxy:
        client = HttpClient(HttpOptions(environment={"http_proxy": proxy.url.replace("//", "//user:secret@")}))
        assert client.request("GET", "http://service.test/x?y=z").read() == b"hello"
        assert proxy.asked == ["GET http://service.test/x?y=z"]
        client.close()
    assert server.requests[0].headers["host"] == "service.test"


def test_the_password_of_a_proxy_may_hold_any_character(authority, tls_server):
    with running_proxy({"service.test": tls_server.port}, password="us@er:p:a/s%s é") as proxy:
        address = proxy.url.replace("//", "//us%40er:p%3Aa%2Fs%25s%20%C3%A9@")
        client = HttpClient(HttpOptions(proxy=address, ca_bundle=authority.path))
        assert client.request("GET", "https://service.test/").read() == b"hello"
        client.close()
    assert "proxy-authorization" not in tls_server.requests[0].headers


def test_the_password_of_a_proxy_may_be_no_text():
    given, written = "http://u:\udcff@h", "http://u:%FF@h"  # as os.environ gives a byte that is not UTF-8
    assert parse_proxy(given).authorization == "Basic dTr/"
    assert parse_proxy(written).authorization == "Basic dTr/"


def test_a_proxy_may_itself_be_reached_over_tls(authority, tls_server):
    with running_proxy({"service.test": tls_server.port}, tls=authority.server_context("127.0.0.1")) as proxy:
        client = HttpClient(HttpOptions(proxy=proxy.url, ca_bundle=authority.path))
        assert client.request("GET", "https://service.test/").read() == b"hello"
        client.close()


def test_a_plain_request_through_a_proxy_over_tls_arrives(authority, server):
    with running_proxy({"service.test": server.port}, tls=authority.server_context("127.0.0.1")) as proxy:
        client = HttpClient(HttpOptions(proxy=proxy.url, ca_bundle=authority.path))
        assert client.request("GET", "http://service.test/").read() == b"hello"
        client.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("user", ["", "user:wrong@"])
def test_a_proxy_that_wants_another_password_says_so(scheme, user):
    with running_proxy({}, password="user:right") as proxy:
        error = failure(HttpOptions(proxy=proxy.url.replace("//", f"//{user}")), f"{scheme}://service.test/")
    assert error.reason is NetworkReason.PROXY
    assert "407" in error.message
    assert f"127.0.0.1:{proxy.port}" in error.message
    assert ("were sent" in error.message) == bool(user)
    assert "wrong" not in str(error)


def test_a_proxy_that_refuses_the_host_says_which(authority):
    with running_proxy({}, refuse=403) as proxy:
        error = failure(HttpOptions(proxy=proxy.url), "https://service.test/")
    assert error.reason is NetworkReason.PROXY
    assert "service.test:443" in error.message
    assert "403" in error.message


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_does_not_run_is_named_and_not_the_service(scheme):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        error = failure(HttpOptions(proxy=f"http://user:secret@127.0.0.1:{port}"), f"{scheme}://service.test/")
    assert error.reason is NetworkReason.PROXY
    assert f"proxy 127.0.0.1:{port}" in error.message
    assert "secret" not in str(error)


def test_a_proxy_whose_name_is_unknown_is_named_and_not_the_service():
    error = failure(HttpOptions(proxy=f"http://{UNKNOWN_HOST}:3128"), "https://service.test/")
    assert error.reason is NetworkReason.DNS
    assert f"proxy {UNKNOWN_HOST}:3128" in error.message


def test_a_proxy_over_tls_whose_issuer_is_unknown_is_named(authority):
    with running_proxy({}, tls=authority.server_context("127.0.0.1")) as proxy:
        error = failure(HttpOptions(proxy=proxy.url), "https://service.test/")
    assert error.reason is NetworkReason.TLS
    assert f"proxy 127.0.0.1:{proxy.port}" in error.message


def test_a_proxy_that_inspects_tls_is_found_out(authority, tls_server):
    with running_proxy({"service.test": tls_server.port}) as proxy:
        error = failure(HttpOptions(proxy=proxy.url), "https://service.test/")
    assert error.reason is NetworkReason.TLS
    assert "service.test:443" in error.message
    assert "in ca_bundle (or AWS_CA_BUNDLE)" in error.remedy


def test_what_named_a_proxy_is_part_of_the_error():
    refused = "http://joe:secret@127.0.0.1:1"
    by_setting = failure(HttpOptions(proxy=refused), "https://service.test/")
    by_variable = failure(HttpOptions(environment={"HTTPS_PROXY": refused}), "https://service.test/")
    assert by_setting.message == "No connection to the proxy 127.0.0.1:1 (proxy_uri): Connection refused."
    assert by_variable.message == "No connection to the proxy 127.0.0.1:1 (HTTPS_PROXY): Connection refused."
    assert by_variable.remedy == "Check that it runs and that the port in HTTPS_PROXY is right."
    wrong = failure(HttpOptions(environment={"https_proxy": "http://joe:secret@host:x"}), "https://service.test/")
    assert wrong.message.startswith("The address of the proxy in https_proxy is not a URL")


def test_what_named_an_endpoint_is_part_of_the_error_with_the_setting_that_may_help():
    options = HttpOptions(endpoints={"127.0.0.1:1": "deploy_control_endpoint"})
    error = failure(options, "https://127.0.0.1:1/")
    assert error.message == "No connection to 127.0.0.1:1 (deploy_control_endpoint): Connection refused."
    assert error.remedy == "Check that it runs and that the port in deploy_control_endpoint is right."


@pytest.mark.parametrize("proxied", [True, False])
def test_a_proxy_is_only_advised_where_one_would_be_used(proxied):
    error = failure(HttpOptions(), f"https://{UNKNOWN_HOST}/", proxied=proxied)
    assert ("name it in proxy_uri or HTTPS_PROXY" in error.remedy) is proxied


@pytest.mark.parametrize("at_once", [b"", b"HTTP/1.1 200 Connected\r\n"])
def test_a_proxy_that_drips_its_answer_does_not_hold_us_for_ever(at_once):
    with running_proxy({}, drips=(at_once, b"HTTP/1.1 200 Connected" + b"X" * 400)) as proxy:
        error = failure(HttpOptions(proxy=proxy.url), "https://service.test/", connect_timeout=0.3)
    assert error.reason is NetworkReason.TIMEOUT
    assert f"service.test:443 through the proxy 127.0.0.1:{proxy.port} (proxy_uri) within 0.3 s" in error.message


def test_a_handshake_that_drips_through_a_proxy_does_not_hold_us_for_ever(authority):
    answer = (b"HTTP/1.1 200 Connected\r\n\r\n", HALF_A_HANDSHAKE)
    with running_proxy({}, drips=answer) as proxy:
        error = failure(HttpOptions(proxy=proxy.url), "https://service.test/", connect_timeout=0.3)
    assert error.reason is NetworkReason.TIMEOUT


def test_a_handshake_that_drips_within_the_tls_of_a_proxy_does_not_hold_us_for_ever(authority):
    answer = (b"HTTP/1.1 200 Connected\r\n\r\n", HALF_A_HANDSHAKE)
    with running_proxy({}, drips=answer, tls=authority.server_context("127.0.0.1")) as proxy:
        options = HttpOptions(proxy=proxy.url, ca_bundle=authority.path)
        error = failure(options, "https://service.test/", connect_timeout=2)
    assert error.reason is NetworkReason.TIMEOUT


def test_a_path_reaches_the_service_through_a_proxy_as_it_was_signed(server):
    with running_proxy({"service.test": server.port}) as proxy:
        client = HttpClient(HttpOptions(proxy=proxy.url))
        assert client.request("GET", "http://service.test/bucket/a/../b//c%20%2B").read() == b"hello"
        client.close()
    assert server.requests[0].target == "/bucket/a/../b//c%20%2B"


def test_the_setting_wins_over_the_environment(authority, tls_server):
    with running_proxy({"service.test": tls_server.port}) as proxy:
        environment = {"HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
        client = HttpClient(HttpOptions(proxy=proxy.url, ca_bundle=authority.path, environment=environment))
        assert client.request("GET", "https://service.test/").read() == b"hello"
        client.close()


def test_a_host_in_no_proxy_is_reached_directly():
    options = HttpOptions(proxy="http://127.0.0.1:1", environment={"NO_PROXY": UNKNOWN_HOST[-100:].partition(".")[2]})
    error = failure(options, f"https://{UNKNOWN_HOST}/")
    assert error.reason is NetworkReason.DNS
    assert "proxy" not in error.message


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("localhost", marks=pytest.mark.needs("localhost"))])
def test_a_service_on_this_host_is_never_asked_through_a_proxy(server, host):
    client = HttpClient(HttpOptions(proxy="http://127.0.0.1:1"))
    assert client.request("GET", f"http://{host}:{server.port}/").read() == b"hello"
    client.close()


def test_instance_metadata_is_never_asked_through_a_proxy():
    options = HttpOptions(proxy="http://127.0.0.1:1")
    error = failure(options, f"http://{UNKNOWN_HOST}/", proxied=False)
    assert error.reason is NetworkReason.DNS


def test_an_address_of_ip_version_6_reaches_the_proxy_in_brackets():
    with running_proxy({}, refuse=503) as proxy:
        client = HttpClient(HttpOptions(proxy=proxy.url))
        assert client.request("GET", "http://[2001:db8::1]:8080/x").status == 503
        client.close()
    assert proxy.asked == ["GET http://[2001:db8::1]:8080/x"]
    assert b"Host: [2001:db8::1]:8080" in proxy.seen[0]


@pytest.mark.parametrize(
    ("entries", "host", "exempt"),
    [
        ("*", "a.example", True),
        ("a.example", "a.example", True),
        ("A.Example", "a.EXAMPLE", True),
        ("a.example", "b.a.example", True),
        (".a.example", "b.a.example", True),
        (".a.example", "a.example", True),
        ("*.a.example", "b.a.example", True),
        ("a.example", "xa.example", False),
        ("a.example", "a.example.org", False),
        ("a.example:443", "a.example", True),
        ("a.example:8443", "a.example", False),
        ("b.example, a.example", "a.example", True),
        ("b.example a.example", "a.example", True),
        (" , ,", "a.example", False),
        ("", "a.example", False),
        (".", "a.example", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.30", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.2.3/8", "10.200.0.1", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "ten.example", False),
        ("10.0.0.0/99", "10.1.2.3", False),
        ("fd00::/8", "fd00::1", True),
        ("fd00::1", "[fd00:0::1]", True),
        ("[fd00::1]:443", "fd00::1", True),
        ("[fd00::1]:80", "fd00::1", False),
        ("10.0.0.0/8", "fd00::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("example", "service.example", True),
        ("a.example.", "a.example", True),
        ("amazonaws.com", "s3.eu-central-1.amazonaws.com", True),
    ],
)
def test_no_proxy_takes_out_what_it_names_and_nothing_else(entries, host, exempt):
    assert is_exempt(host, 443, entries) is exempt


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost", True),
        ("LocalHost.", True),
        ("a.localhost", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost.example", False),
        ("128.0.0.1", False),
        ("169.254.169.254", False),
        ("mylocalhost", False),
    ],
)
def test_only_this_host_counts_as_loopback(host, ours):
    assert is_loopback(host) is ours


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("http://proxy.example", "http://proxy.example:80"),
        ("https://proxy.example/", "https://proxy.example:443"),
        ("http://[fd00::1]:8080", "http://[fd00::1]:8080"),
    ],
)
def test_the_address_of_a_proxy_may_be_short(text, url):
    assert parse_proxy(text) == (url, None, "proxy_uri")


@pytest.mark.parametrize("text", ["socks5://secret@host:1", "http://", "http://secret@host:port", "http://[secret"])
def test_an_address_that_is_none_is_refused_without_repeating_its_password(text):
    with pytest.raises(NetworkError) as caught:
        parse_proxy(text)
    assert caught.value.reason is NetworkReason.PROXY
    assert "secret" not in str(caught.value)


@given(st.text() | st.text().map("http://{}@host".format) | st.text().map("http://{}".format))
def test_no_address_of_a_proxy_crashes_the_agent(text):
    with suppress(NetworkError):
        assert parse_proxy(text).url.startswith("http")


@given(st.text(alphabet="ab.*:/[]0129, %", max_size=30), st.text(alphabet="ab.:0129[]%", max_size=20))
def test_no_entry_of_no_proxy_crashes_the_agent(entries, host):
    assert is_exempt(host, 443, entries) in (True, False)
    assert is_exempt(host, 443, entries + ",*")


def test_each_scheme_has_its_variable_and_the_lower_case_one_wins():
    environment = {"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:1", "HTTP_PROXY": "http://plain:1"}

    def chosen(scheme):
        return proxy_for(scheme=scheme, host="a.example", port=1, setting=None, environment=environment)

    assert chosen("https").url == "http://lower:1"
    assert chosen("http").url == "http://plain:1"


def test_the_password_of_a_proxy_is_in_no_repr():
    assert "secret" not in repr(parse_proxy("http://user:secret@host:1"))
    options = HttpOptions(proxy="http://u:secret@h:1", environment={"HTTPS_PROXY": "http://u:secret@h:1"})
    assert "secret" not in repr(options)
