from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent.traffic.control import TrafficControl
from agent.traffic.errors import LastHealthyError, TrafficError
from agent.traffic.haproxy import HaproxyServers
from agent.traffic.policy import Policy
from agent.traffic.provider import BalancerAccess, Member
from agent.traffic.record import Phase, Records
from haproxy_server import Haproxy, free_port

pytestmark = pytest.mark.needs_tool("haproxy")
D1 = {"deployment_id": "d-1", "group_id": "g"}


class _Answer(BaseHTTPRequestHandler):
    held = threading.Event()
    reached = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.reached.set()
            self.held.wait()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[int]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield running.server_address[1]
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def haproxy(server: int, tmp_path: Path) -> Iterator[Haproxy]:
    with Haproxy(tmp_path, [("host-1", server, 30), ("host-2", server, 100)]) as running:
        running.until("host-1", "UP")
        running.until("host-2", "UP")
        yield running


@pytest.fixture
def make(tmp_path: Path):
    (tmp_path / "traffic").mkdir()

    def control(*sockets: str, servers=("web/host-1",), **policy):
        provider = {"type": "haproxy", "sockets": list(sockets), "servers": list(servers)}
        records = Records(str(tmp_path / "traffic"))
        made = TrafficControl("Web", Policy([provider], **policy), records, BalancerAccess(), tell=lambda text: None)
        return made, records

    return control


def test_a_server_is_drained_and_made_ready_with_its_weight(haproxy, make):
    control, records = make(haproxy.socket)
    control.take_out(**D1)
    assert haproxy.statuses() == {"host-1": "DRAIN", "host-2": "UP"}
    haproxy.ask("set server web/host-1 weight 77")
    control.put_back()
    assert haproxy.statuses() == {"host-1": "UP", "host-2": "UP"}
    assert haproxy.ask("get weight web/host-1").startswith("30 ")
    assert records.read("Web").phase is Phase.FINALIZED


def test_the_runtime_api_is_spoken_over_tcp_too(haproxy, make):
    control, _ = make(f"127.0.0.1:{haproxy.runtime_port}")
    control.take_out(**D1)
    assert haproxy.statuses()["host-1"] == "DRAIN"


def test_a_session_that_is_open_is_waited_for(haproxy, make):
    _Answer.held.clear()
    _Answer.reached.clear()
    control, records = make(haproxy.socket)
    with socket.create_connection(("127.0.0.1", haproxy.port)) as first:
        haproxy.ask("set server web/host-2 state drain")
        first.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert _Answer.reached.wait()
        haproxy.ask("set server web/host-2 state ready")
        haproxy.until("host-2", "UP")
        leaving = threading.Thread(target=control.take_out, kwargs=D1)
        leaving.start()
        haproxy.until("host-1", "DRAIN")
        assert records.read("Web").phase is Phase.BLOCKING
        _Answer.held.set()
        assert b" 200 " in first.recv(100)
        leaving.join()
    assert records.read("Web").phase is Phase.OUT


def test_a_server_in_maintenance_stays_there(haproxy, make):
    haproxy.ask("set server web/host-1 state maint")
    control, _ = make(haproxy.socket)
    control.take_out(**D1)
    control.put_back()
    assert haproxy.statuses()["host-1"] == "MAINT"


def test_the_last_server_that_is_up_is_not_drained(haproxy, make):
    haproxy.ask("set server web/host-2 state maint")
    control, _ = make(haproxy.socket)
    with pytest.raises(LastHealthyError, match="web/host-1"):
        control.take_out(**D1)
    assert haproxy.statuses()["host-1"] == "UP"


def test_a_haproxy_that_was_restarted_is_told_again(haproxy, make):
    control, _ = make(haproxy.socket)
    control.take_out(**D1)
    haproxy.stop()
    haproxy.start()
    haproxy.until("host-1", "UP")
    control.take_out(**D1)
    assert haproxy.statuses()["host-1"] == "DRAIN"
    control.put_back()
    assert haproxy.statuses()["host-1"] == "UP"


def test_a_haproxy_that_is_down_stops_the_deployment_before_anything_changes(haproxy, make):
    control, records = make(haproxy.socket, f"127.0.0.1:{free_port()}", time_limit_seconds=1)
    with pytest.raises(TrafficError, match="cannot be asked"):
        control.take_out(**D1)
    assert haproxy.statuses()["host-1"] == "UP"
    assert records.read("Web") is None


def test_a_server_that_haproxy_does_not_know_is_named(haproxy, make):
    control, _ = make(haproxy.socket, servers=["web/host-9"])
    with pytest.raises(TrafficError, match="no server web/host-9"):
        control.take_out(**D1)


def test_a_broken_host_does_not_come_back_when_haproxy_is_restarted(haproxy, make):
    control, records = make(haproxy.socket)
    control.take_out(**D1)
    control.failed("AfterInstall of d-1 failed")
    haproxy.stop()
    haproxy.start()
    haproxy.until("host-1", "UP")
    control.recover()
    assert haproxy.statuses()["host-1"] == "DRAIN"
    assert records.read("Web").kept == "AfterInstall of d-1 failed"


@pytest.fixture
def impostor():
    """A Runtime API that answers each command with the text that it is given."""
    answers: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(answers[0].encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}", answers
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("answer", ["", "Permission denied\n\n", "1\n# be_id srv_na", "1\n", "\n"])
def test_an_answer_that_is_none_is_never_taken_for_a_server_that_is_gone(impostor, answer):
    address, answers = impostor
    answers.append(answer)
    provider = HaproxyServers({"type": "haproxy", "sockets": [address], "servers": ["web/host-1"]})
    with pytest.raises(TrafficError) as caught:
        provider.find()
    assert not caught.value.gone
    assert address in caught.value.message


STATE = "1\n# be_name srv_name srv_admin_state srv_uweight\n"
STATISTICS = "# pxname,svname,scur,status\n"


@pytest.mark.parametrize(
    "state",
    [
        "1\n# be_name srv_name srv_admin_state\nweb host-1 0\n",
        "1\n# be_name srv_admin_state srv_uweight\nweb 0 100\n",
        f"{STATE}web host-1 0\n",
        f"{STATE}web host-1 - 100\n",
        f"{STATE}web host-1 0 \x1b[31m\n",
        f"{STATE}web host-1 {'9' * 5000} 100\n",
    ],
)
def test_an_odd_row_of_a_server_is_shown(impostor, state):
    address, answers = impostor
    answers.append(f"{state}\n")
    provider = HaproxyServers({"type": "haproxy", "sockets": [address], "servers": ["web/host-1"]})
    with pytest.raises(TrafficError, match="show servers state web") as caught:
        provider.find()
    assert not caught.value.gone
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "statistics",
    [
        "# pxname,scur,status\nweb,0,UP\n",
        "# pxname,svname,scur\nweb,host-1,0\n",
        f"{STATISTICS}web\n",
        f"{STATISTICS}web,host-1\n",
        f"{STATISTICS}web,host-1,many,UP\n",
        f"{STATISTICS}web,host-2,0\nweb,host-1,0,UP\n",
        f"{STATISTICS}web,host-1,{'x' * 200_000},UP\n",
    ],
)
def test_an_odd_row_of_the_statistics_is_shown(impostor, statistics):
    address, answers = impostor
    answers.append(f"{statistics}\n")
    member = Member({}, "web/host-1", {"socket": address, "server": "web/host-1", "weight": 1}, "")
    with pytest.raises(TrafficError, match="to: show stat") as caught:
        HaproxyServers({"type": "haproxy", "sockets": [address], "servers": ["web/host-1"]}).others(member)
    assert not caught.value.gone


def test_a_haproxy_that_knows_neither_server_nor_backend_says_so(haproxy):
    for server in ("web/host-9", "shop/host-1"):
        provider = HaproxyServers({"type": "haproxy", "sockets": [haproxy.socket], "servers": [server]})
        with pytest.raises(TrafficError, match=f"no server {server}") as caught:
            provider.find()
        assert caught.value.gone
