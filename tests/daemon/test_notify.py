import os
import socket
import time

import pytest

from agent.daemon.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    """A real socket as systemd makes it; gives the environment variable's value and a receiver."""
    name = str(tmp_path / "n") if request.param == "path" else f"@{tmp_path.name}-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        yield name, lambda: listener.recv(65536).decode()


def test_systemd_hears_what_the_agent_does(systemd):
    name, receive = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready("Polling")
    assert receive() == "READY=1\nSTATUS=Polling"
    notifier.status("3 commands\nMAINPID=1")
    assert receive() == "STATUS=3 commands MAINPID=1"
    notifier.watchdog()
    assert receive() == "WATCHDOG=1"
    notifier.stopping()
    assert receive() == "STOPPING=1"


def test_a_reload_carries_the_time_that_systemd_asks_for(systemd):
    name, receive = systemd
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier({"NOTIFY_SOCKET": name}).reloading()
    first, second = receive().splitlines()
    assert first == "RELOADING=1"
    stamp = int(second.removeprefix("MONOTONIC_USEC="))
    assert before <= stamp <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.parametrize("name", [None, "", "relative", "vsock:2:1234", "/nowhere/notify", "/" + "x" * 300, "@gone"])
def test_nobody_who_listens_is_no_failure(name):
    notifier = Notifier({} if name is None else {"NOTIFY_SOCKET": name})
    notifier.ready("text")
    notifier.watchdog()
    notifier.stopping()


def test_a_service_manager_that_does_not_read_does_not_stop_the_agent(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "n"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "n")})
        for _ in range(5000):
            notifier.status("x" * 100)


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "180000000"}, 90.0),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": str(os.getpid())}, 90.0),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_systemd_asks(environment, interval):
    assert Notifier(environment).watchdog_interval == interval
