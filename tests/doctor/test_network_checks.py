"""What stands between this host and the service is found: clock, names, certificates, proxies."""

from __future__ import annotations

import json
from email.utils import formatdate
from pathlib import Path

import pytest

from agent.doctor import subject as subject_module
from examined_host import ExaminedHost
from proxy_server import running_proxy
from wire_server import Answer, Authority, WireServer, running_server

CLOSED = "http://127.0.0.1:9"


@pytest.fixture
def host(tmp_path: Path, service: WireServer) -> ExaminedHost:
    """A host that reaches its service."""
    return ExaminedHost(
        tmp_path / "host",
        service.url,
        s3_endpoint_override=service.url,
        github_endpoint_override=service.url,
    )


def remember(host: ExaminedHost, revision: dict[str, str]) -> None:
    """Write down that a revision was deployed."""
    deployment = host.root / "g-1" / "d-1"
    deployment.mkdir(parents=True)
    line = {"version": 1, "event": "DownloadBundle", "started": 1.0, "revision": revision}
    (deployment / ".history.jsonl").write_text(json.dumps(line) + "\n")


def test_a_clock_that_is_wrong_is_found_by_the_date_of_the_service(host: ExaminedHost, service: WireServer) -> None:
    for seconds, expect, text in (
        (1, host.passes, "agrees"),
        (-120, host.warns, "The clock is 1"),
        (3600, host.fails, "behind the service's"),
        (-3600, host.fails, "ahead of the service's"),
    ):
        now = subject_module.time.time() + seconds
        service.otherwise = Answer(404, headers={"Date": formatdate(now, usegmt=True)})
        expect("clock", text, *([] if seconds == 1 else ["chrony"]))
    service.otherwise = Answer(404)
    host.skips("clock", "no date")


def test_a_name_that_nobody_knows_is_found(host: ExaminedHost) -> None:
    host.passes("dns", "127.0.0.1 is 127.0.0.1")
    host.write_config(s3_endpoint_override="https://s3.unknown.invalid")
    host.fails("dns", "s3.unknown.invalid", "/etc/resolv.conf")


@pytest.mark.needs("localhost")
def test_a_certificate_of_an_unknown_issuer_is_found(host: ExaminedHost, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with running_server(tls=authority.server_context("localhost")) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        host.write_config(deploy_control_endpoint=url)
        host.fails("tls", "issuer that this host does not trust", "ca_bundle")
        host.fails("endpoint", "is not reached", "ca_bundle")
        host.write_config(ca_bundle=authority.path)
        host.passes("tls", f"ca_bundle ({authority.path})")
        host.write_config(ca_bundle=tmp_path / "gone.pem")
        host.fails("tls", "cannot be read", "PEM file")


@pytest.mark.needs("localhost")
def test_a_certificate_that_has_expired_is_found(host: ExaminedHost, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with running_server(tls=authority.server_context("localhost", since=-9, until=-2)) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        host.write_config(deploy_control_endpoint=url, ca_bundle=authority.path)
        host.fails("tls", "has expired", "Correct the clock if it is wrong")


def test_a_proxy_that_refuses_the_service_is_found(host: ExaminedHost) -> None:
    host.passes("proxy", "without a proxy")
    with running_proxy({}, refuse=403) as proxy:
        host.write_config(deploy_control_endpoint="https://codedeploy.test", proxy_uri=proxy.url)
        host.fails("proxy", "does not connect to codedeploy.test:443", "Allow codedeploy.test:443 in the proxy")
        host.skips("tls", "not reached")
    host.write_config(proxy_uri=CLOSED)
    host.fails("proxy", "Connection refused", "proxy_uri")
    host.write_config(proxy_uri="http://proxy.unknown.invalid:3128")
    host.fails("proxy", "proxy.unknown.invalid", "resolv.conf")


def test_a_proxy_that_asks_for_a_password_is_found_and_no_password_is_shown(host: ExaminedHost) -> None:
    with running_proxy({}, password="user:right") as proxy:
        url = proxy.url.replace("://", "://user:wrong-one@")
        host.write_config(deploy_control_endpoint="https://codedeploy.test", proxy_uri=url)
        host.fails("proxy", "refused those that were sent", "user:password@host")
        assert not any("wrong-one" in str(host.finding(name)) for name in ("proxy", "endpoint", "dns"))


def test_a_service_that_no_proxy_takes_out_of_the_proxy_it_needs_is_found(host: ExaminedHost) -> None:
    host.write_config(deploy_control_endpoint="https://codedeploy.unknown.invalid")
    host.variables |= {"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": ".unknown.invalid"}
    host.fails("proxy", "because NO_PROXY names it", "Take the host out of NO_PROXY")


@pytest.mark.needs("localhost")
def test_a_proxy_that_lets_the_agent_through_is_named(host: ExaminedHost, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    name = "codedeploy.test"
    with (
        running_server(tls=authority.server_context(name)) as server,
        running_proxy({name: server.port}) as proxy,
    ):
        host.write_config(deploy_control_endpoint=f"https://{name}", proxy_uri=proxy.url, ca_bundle=authority.path)
        host.passes("proxy", "(from proxy_uri) leads to the service")


def test_a_service_that_is_not_reached_is_found(host: ExaminedHost, service: WireServer) -> None:
    host.passes("endpoint", "answers in")
    service.otherwise = Answer(302, headers={"Location": "https://portal.test/"})
    host.fails("endpoint", "redirects", "a portal on the way")
    service.otherwise = Answer(503)
    host.warns("endpoint", "status 503", "health of the service")
    host.write_config(deploy_control_endpoint=CLOSED)
    host.fails("endpoint", "Connection refused", "deploy_control_endpoint")
    host.write_config(deploy_control_endpoint="http://service.example")
    host.fails("endpoint", "plain http to another host", "Use https")
    host.skips("clock", "see the check endpoint")


def test_the_way_to_the_service_is_looked_at_although_the_identity_is_unknown(host: ExaminedHost) -> None:
    host.on_premises.unlink()
    host.passes("endpoint", "answers in")


def test_a_store_of_bundles_that_is_not_reached_is_found(host: ExaminedHost, service: WireServer) -> None:
    service.otherwise = Answer(403)
    host.passes("s3", "answers in")
    host.write_config(s3_endpoint_override=CLOSED)
    host.fails("s3", "S3 is not reached", "s3_endpoint_override")


def test_a_bundle_that_this_host_may_not_read_is_found(host: ExaminedHost, service: WireServer) -> None:
    remember(host, {"kind": "s3", "bucket": "bundles", "key": "shop/v1.tgz", "bundle_type": "tgz"})
    host.passes("s3", "may read s3://bundles/shop/v1.tgz")
    assert (service.requests[-1].method, service.requests[-1].target) == ("HEAD", "/bundles/shop/v1.tgz")
    service.otherwise = lambda request: Answer(403 if request.method == "HEAD" else 200)
    host.fails("s3", "cannot be read", "needs s3:GetObject on arn:aws:s3:::bundles/shop/v1.tgz")
    service.otherwise = lambda request: Answer(404 if request.method == "HEAD" else 200)
    host.passes("s3", "is no longer there")


def test_a_github_that_is_not_reached_is_found(host: ExaminedHost, service: WireServer) -> None:
    host.passes("github", "answers in")
    service.otherwise = Answer(429)
    host.warns("github", "refuses more requests", "GitHub token")
    host.write_config(github_endpoint_override=CLOSED)
    host.fails("github", "is not reached", "github_endpoint_override")


def test_github_is_missed_where_deployments_come_from_there(host: ExaminedHost) -> None:
    del host.settings["github_endpoint_override"]
    host.write_config(proxy_uri=CLOSED)
    host.skips("github", "no deployment here came from it")
    remember(host, {"kind": "github", "account": "a", "repository": "r", "commit_id": "c"})
    host.fails("github", "Deployments came from GitHub", "Allow it in the proxy")
