"""``codedeploy-agent sandbox`` as a program: its files, its end, and the connections it bears."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from agent.sandbox.files import LOCK
from guards import unavailable_unless
from host_agent_stub import HostAgentStub
from sandbox_scene import Scene
from sandbox_server import ROOT, START, SandboxServer, running_sandbox


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", START, "sandbox", *arguments]


def test_what_holds_secrets_is_for_its_user_alone(sandbox: SandboxServer) -> None:
    for name in ("sandbox.json", "env.sh"):
        assert stat.S_IMODE((sandbox.directory / name).stat().st_mode) == 0o600
    assert sandbox.description["secret_access_key"] not in (sandbox.directory / "log").read_text()
    assert urlsplit(sandbox.url).hostname == "127.0.0.1"
    assert Path(sandbox.signer_certificate).read_text().startswith("-----BEGIN CERTIFICATE-----")


def test_env_sh_gives_a_shell_what_the_cli_needs(sandbox: SandboxServer) -> None:
    script = (
        f'. {sandbox.directory}/env.sh; printf "%s\\n" "$AWS_ENDPOINT_URL" "$AWS_ACCESS_KEY_ID" "$AWS_DEFAULT_REGION"'
    )
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.stdout.split() == [sandbox.url, sandbox.description["access_key_id"], sandbox.region]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_although_a_host_waits(tmp_path: Path, ending: signal.Signals) -> None:
    with running_sandbox(tmp_path, "--region", "eu-central-1") as server:
        assert server.region == "eu-central-1"
        server.set_limits(poll=55)
        host = HostAgentStub.from_on_premises(server.url, server.register_on_premises("host", {}))
        answers: list[object] = []
        waiting = threading.Thread(target=lambda: answers.append(host.poll()), daemon=True)
        waiting.start()
        server.wait_for_poll(host.host_identifier)
        server.process.send_signal(ending)
        assert server.process.wait() == 0
        assert not (server.directory / "sandbox.json").exists()
        waiting.join()
        assert answers == [None]


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            command("--port", port, "--directory", str(tmp_path)), capture_output=True, text=True, cwd=ROOT
        )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use." in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


@pytest.mark.needs_tool("setpriv")
def test_a_port_that_is_for_root_is_refused_with_the_systems_reason(tmp_path: Path) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 2:
        unavailable_unless(["needs ports that are for root alone"])
    without = ["setpriv", "--inh-caps=-net_bind_service", "--bounding-set=-net_bind_service"]
    desired = [*(without if os.geteuid() == 0 else []), *command("--port", "1", "--directory", str(tmp_path))]
    done = subprocess.run(desired, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1 port 1: Permission denied." in done.stderr
    assert "from 1024" in done.stderr


@pytest.mark.parametrize(
    ("address", "reason"), [("192.0.2.1", "Cannot assign requested address"), ("no-such-host.invalid", "not known")]
)
def test_an_address_of_another_machine_is_refused_with_the_systems_reason(
    tmp_path: Path, address: str, reason: str
) -> None:
    done = subprocess.run(
        command("--listen", address, "--directory", str(tmp_path)), capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1
    assert f"cannot listen on {address} port 0" in done.stderr
    assert reason in done.stderr
    assert "--listen" in done.stderr


@pytest.mark.parametrize(
    ("listen", "host", "tls"),
    [
        ("0.0.0.0", "127.0.0.1", ("--tls",)),
        ("[::]", "[::1]", ()),
        pytest.param("localhost", None, (), marks=pytest.mark.needs("localhost")),
    ],
)
def test_the_files_have_an_address_that_a_client_can_use(
    tmp_path: Path, listen: str, host: str | None, tls: tuple[str, ...]
) -> None:
    if ":" in listen and not Path("/proc/net/if_inet6").exists():
        unavailable_unless(["needs IPv6"])
    with running_sandbox(tmp_path, "--listen", listen, *tls) as server:
        where = urlsplit(server.url)
        assert server.client("codedeploy").list_applications()["applications"] == []
        assert f"AWS_ENDPOINT_URL={server.url}" in (server.directory / "env.sh").read_text().replace("'", "")
        assert f'"{server.url}"' in (server.directory / "codedeployagent.yml").read_text()
        said = (server.directory / "log").read_text()
        if host is None:
            assert "Other machines" not in said
            return
        assert where.netloc == f"{host}:{where.port}"
        here = {one.address for found in psutil.net_if_addrs().values() for one in found}
        others = [word.strip(".") for word in said.split() if word.startswith(f"{where.scheme}://")]
        elsewhere = [url for url in others if urlsplit(url).netloc != where.netloc]
        assert all(urlsplit(url).hostname in here and urlsplit(url).port == where.port for url in elsewhere)
        assert ("Other machines reach the sandbox at" in said) == bool(elsewhere)
        for url in elsewhere:
            server.url = url
            assert server.control("GET", "waiting") == []


def test_a_connection_serves_many_requests_also_after_a_refusal(sandbox: SandboxServer, scene: Scene) -> None:
    host = scene.host()
    connection = http.client.HTTPConnection(urlsplit(sandbox.url).netloc)
    connection.connect()
    first = connection.sock
    body = json.dumps({"HostIdentifier": host.host_identifier}).encode()
    for version in ("2.1.0", "1.0.0", "2.1.0"):
        host.version = version
        connection.request("POST", "/", body, host.signed_headers("PollHostCommand", body))
        answer = connection.getresponse()
        answer.read()
        assert answer.status == (400 if version == "1.0.0" else 200)
        assert connection.sock is first
    connection.close()


def test_a_hundred_hosts_wait_at_once(sandbox: SandboxServer, scene: Scene) -> None:
    waiting, working = scene.host(), scene.host()
    sandbox.set_limits(poll=1.5)
    answers: list[object] = []
    threads = [threading.Thread(target=lambda: answers.append(waiting.poll())) for _ in range(100)]
    for thread in threads:
        thread.start()
    sandbox.set_limits(poll=0.3)
    sandbox.client("codedeploy").deregister_on_premises_instance(instanceName=f"{scene.name}-host-0")
    working.work()
    scene.group()
    assert sandbox.wait(scene.deploy())["status"] == "Succeeded"
    for thread in threads:
        thread.join()
    assert answers == [None] * 100


def test_two_sandboxes_do_not_share_a_directory(sandbox: SandboxServer) -> None:
    done = subprocess.run(command("--directory", str(sandbox.directory)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert f"Another sandbox uses the directory {sandbox.directory}. Stop that sandbox" in done.stderr
    assert json.loads((sandbox.directory / "sandbox.json").read_text())["pid"] == sandbox.process.pid


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    done = subprocess.run(command("--directory", str(tmp_path)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode != 0
    assert "Other users may write" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    directory = str(tmp_path / "file/directory")
    done = subprocess.run(command("--directory", directory), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert directory in done.stderr
    assert "Traceback" not in done.stderr


def test_files_of_somebody_elses_are_neither_overwritten_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "env.sh").write_text("mine")
    done = subprocess.run(command("--directory", str(tmp_path)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "env.sh" in done.stderr
    assert (tmp_path / "env.sh").read_text() == "mine"


@pytest.mark.needs("root")
def test_another_users_link_does_not_lead_the_sandbox_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "mine")
    os.chown(link, 65534, 65534, follow_symlinks=False)
    done = subprocess.run(command("--directory", str(link)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "link of another user" in done.stderr
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_web_page_with_a_name_of_its_own_gets_no_metadata(sandbox: SandboxServer) -> None:
    refused = ("rebound.example.com", "cafe", "7.example", "", "[::1")
    known = ("127.0.0.1", "localhost:80", "[::1]:80")
    for host in (*refused, *known):
        request = urllib.request.Request(
            f"{sandbox.url}/latest/api/token",
            method="PUT",
            headers={"Host": host, "X-aws-ec2-metadata-token-ttl-seconds": "60"},
        )
        try:
            with urllib.request.urlopen(request) as answer:
                found = answer.status
        except urllib.error.HTTPError as error:
            found = error.code
        # For a known name 404, or 200 while another test has an instance served.
        assert (found == 403) == (host in refused), host


@pytest.mark.needs("root")
def test_a_directory_in_which_another_user_may_exchange_ours_is_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    os.chown(theirs, 65534, 65534)
    done = subprocess.run(command("--directory", str(theirs / "mine")), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert f"Other users may change what is in {theirs}" in done.stderr
    assert list(theirs.iterdir()) == []
