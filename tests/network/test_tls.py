"""Whose certificates are believed, and what an operator reads when one is not."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress

import pytest

from agent.network.http import HttpClient, HttpOptions, NetworkError, NetworkReason
from agent.network.tls import make_context
from wire_server import HALF_A_HANDSHAKE, Answer, Authority, drip, running_server

pytestmark = pytest.mark.needs("localhost")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def server(authority):
    with running_server(tls=authority.server_context("localhost", "127.0.0.1")) as running:
        running.otherwise = Answer(body=b"hello")
        yield running


def get(server, options, host="localhost"):
    client = HttpClient(options)
    try:
        return client.request("GET", f"https://{host}:{server.port}/").read()
    finally:
        client.close()


def refusal(server, options, host="localhost"):
    before = len(server.requests)
    with pytest.raises(NetworkError) as caught:
        get(server, options, host)
    assert caught.value.reason is NetworkReason.TLS
    assert caught.value.remedy
    assert len(server.requests) == before
    return str(caught.value)


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_certificate_file_of_the_environment_is_used(authority, server, name):
    assert get(server, HttpOptions(environment={name: authority.path})) == b"hello"


def test_a_certificate_directory_of_the_environment_is_used(tmp_path, authority, server):
    directory = tmp_path / "[certificates]"
    directory.mkdir()
    (directory / "notes.txt").write_text("no certificate")
    shutil.copy(Authority(tmp_path, "another").path, directory)
    options = HttpOptions(environment={"AWS_SSL_CA_DIRECTORY": str(directory)})
    refusal(server, options)
    shutil.copy(authority.path, directory)
    assert get(server, options) == b"hello"


def test_the_setting_wins_over_the_environment(tmp_path, authority, server):
    other = Authority(tmp_path, "another").path
    names = {"AWS_CA_BUNDLE": other, "SSL_CERT_FILE": other}
    assert get(server, HttpOptions(ca_bundle=authority.path, environment=names)) == b"hello"
    refusal(server, HttpOptions(ca_bundle=other, environment={"AWS_CA_BUNDLE": authority.path}))


def test_the_systems_certificates_are_used_from_a_bundle(authority, server, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_FILE", authority.path)
    assert get(server, HttpOptions()) == b"hello"


@pytest.mark.needs_tool("openssl")
def test_the_systems_certificates_are_used_from_a_directory(authority, server, monkeypatch, tmp_path):
    directory = tmp_path / "hashed"
    directory.mkdir()
    shutil.copy(authority.path, directory)
    subprocess.run(["openssl", "rehash", directory], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_DIR", str(directory))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    assert get(server, HttpOptions()) == b"hello"


def test_no_old_version_of_tls_and_no_name_outside_the_list_of_names_is_accepted():
    context = make_context(None, {})
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.hostname_checks_common_name


def test_the_name_is_told_to_a_server_of_many_names(authority, server):
    get(server, HttpOptions(ca_bundle=authority.path))
    assert server.requests[0].server_name == "localhost"


def test_a_certificate_for_an_address_is_accepted_for_it(authority, server):
    assert get(server, HttpOptions(ca_bundle=authority.path), "127.0.0.1") == b"hello"


def test_an_unknown_issuer_is_explained(server):
    text = refusal(server, HttpOptions())
    assert f"localhost:{server.port}" in text
    assert "comes from an issuer that this host does not trust" in text
    assert "ca_bundle (or AWS_CA_BUNDLE)" in text


def test_an_issuer_that_is_missing_in_a_named_file_is_explained_with_that_file(tmp_path, server):
    other = Authority(tmp_path, "other").path
    text = refusal(server, HttpOptions(ca_bundle=other))
    assert f"Only the issuers in {other} are trusted, which ca_bundle names" in text


def test_an_expired_certificate_is_explained_with_the_time_of_this_host(authority):
    with running_server(tls=authority.server_context("localhost", since=-9, until=-3)) as server:
        text = refusal(server, HttpOptions(ca_bundle=authority.path))
    assert "has expired, by this host's clock (20" in text
    assert "Correct the clock" in text


def test_a_certificate_of_the_future_is_explained_with_the_time_of_this_host(authority):
    with running_server(tls=authority.server_context("localhost", since=3, until=9)) as server:
        text = refusal(server, HttpOptions(ca_bundle=authority.path))
    assert "is not valid yet, by this host's clock (20" in text


@pytest.mark.parametrize(("named", "asked"), [("other.test", "localhost"), ("10.9.8.7", "127.0.0.1")])
def test_a_certificate_for_another_name_is_refused_and_explained(authority, named, asked):
    with running_server(tls=authority.server_context(named)) as server:
        text = refusal(server, HttpOptions(ca_bundle=authority.path), asked)
    assert "is for another name" in text


@contextmanager
def listener_that_answers(answer: bytes | None, send=socket.socket.sendall):
    """A port that speaks no TLS: it answers the first bytes with others, or with nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(10000)
                with suppress(OSError):
                    send(connection, answer or b"")
                if answer is None:
                    connection.recv(10000)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def handshake_failure(authority, port, **options):
    client = HttpClient(HttpOptions(ca_bundle=authority.path))
    with pytest.raises(NetworkError) as caught:
        client.request("GET", f"https://127.0.0.1:{port}/", **options)
    client.close()
    assert f"127.0.0.1:{port}" in str(caught.value)
    return caught.value


def test_a_port_without_tls_is_explained(authority):
    with listener_that_answers(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        error = handshake_failure(authority, port)
    assert error.reason is NetworkReason.TLS
    assert "does not speak TLS" in error.message


def test_a_port_that_is_silent_to_a_handshake_does_not_hold_us_for_ever(authority):
    with listener_that_answers(None) as port:
        error = handshake_failure(authority, port, connect_timeout=0.1)
    assert error.reason is NetworkReason.TIMEOUT
    assert "handshake" in error.message
    assert "0.1 s" in error.message


def test_a_port_that_drips_a_handshake_does_not_hold_us_for_ever(authority):
    with listener_that_answers(HALF_A_HANDSHAKE, send=drip) as port:
        error = handshake_failure(authority, port, connect_timeout=0.3)
    assert error.reason is NetworkReason.TIMEOUT
    assert "handshake" in error.message


def test_a_server_that_ends_the_handshake_is_an_error_that_names_it(authority):
    with listener_that_answers(b"") as port:
        error = handshake_failure(authority, port)
    assert error.reason in (NetworkReason.TLS, NetworkReason.BROKEN)


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), ("no certificate", "holds no certificates")])
def test_a_certificate_file_that_cannot_be_used_is_named_with_where_it_was_set(tmp_path, server, content, said):
    path = tmp_path / "bundle.pem"
    if content:
        path.write_text(content)
    text = refusal(server, HttpOptions(environment={"AWS_CA_BUNDLE": os.fspath(path)}))
    assert str(path) in text
    assert "AWS_CA_BUNDLE names" in text
    assert said in text


def test_the_certificates_are_read_once(authority):
    options = HttpOptions(ca_bundle=authority.path)
    client = HttpClient(options)
    with running_server(tls=authority.server_context("localhost")) as first:
        client.request("GET", f"https://localhost:{first.port}/").read()
        os.unlink(authority.path)
        with running_server(tls=authority.server_context("localhost")) as second:
            assert client.request("GET", f"https://localhost:{second.port}/").status == 200
        client.close()


def test_a_broken_certificate_file_does_not_disturb_plain_requests(tmp_path):
    with running_server() as server:
        client = HttpClient(HttpOptions(ca_bundle=str(tmp_path / "missing.pem")))
        assert client.request("GET", server.url).status == 200
        client.close()
