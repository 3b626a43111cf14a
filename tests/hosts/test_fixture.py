"""The hosts that other tests boot: what they are, and what is left of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import host_leftovers
import host_network
from booted_host import BootedHost, HostError
from host_images import IMAGES, ImageError, image_directory, mirror
from host_lab import NEEDED, HostLab
from waiting import until

pytestmark = NEEDED

RELEASES = {"debian12": ("bookworm", (3, 11)), "debian13": ("trixie", (3, 13))}
HELPERS = Path(host_leftovers.__file__).parent

# Asks each address given as argument for one byte on port 8000, and prints what became of it.
ASK = """
import socket, sys
for address in sys.argv[1:]:
    try:
        with socket.create_connection((address, 8000), timeout=5) as connection:
            print(address, connection.recv(1) == b"y")
    except OSError as error:
        print(address, type(error).__name__, error.errno)
"""
# Answers everyone on port 8000 with one byte.
ANSWER = """
import socket
server = socket.create_server(("", 8000))
while True:
    connection, _ = server.accept()
    connection.sendall(b"y")
    connection.close()
"""


def ask(host: BootedHost, *addresses: str) -> dict[str, str]:
    """What became of a question from the host to each address."""
    lines = host.run(["python3", "-c", ASK, *addresses]).stdout.splitlines()
    return dict(line.split(" ", 1) for line in lines)


def answer(host: BootedHost) -> None:
    """Start the answering service on a host."""
    host.put("/root/answer.py", ANSWER)
    host.run(["systemd-run", "--quiet", "--unit=answer", "python3", "/root/answer.py"])
    until(lambda: ask(host, "127.0.0.1") == {"127.0.0.1": "True"}, "the answering service")


def _listens() -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex((host_network.MACHINE_ADDRESS, 8000)) == 0


@pytest.fixture
def answering_machine(lab: HostLab) -> Iterator[None]:
    """The answering service at the test machine's end of the network."""
    with lab.network.entered():
        service = subprocess.Popen([sys.executable, "-c", ANSWER], stdin=subprocess.DEVNULL)
        try:
            until(_listens, "the answering service", alive=lambda: service.poll() is None)
            yield
        finally:
            service.kill()
            service.wait()


@pytest.mark.parametrize("image", RELEASES)
def test_a_host_boots_the_release_that_it_is_named_after(lab: HostLab, image: str, tmp_path: Path) -> None:
    codename, python = RELEASES[image]
    (tmp_path / "wheel.whl").write_text("of the machine")
    host = lab.boot("web", image, read_only={"/opt/wheelhouse": tmp_path})

    assert f"VERSION_CODENAME={codename}" in host.run("cat /etc/os-release").stdout
    assert host.run("hostname").stdout == "web\n"
    assert host.run("stat --file-system --format=%T /sys/fs/cgroup").stdout == "cgroup2fs\n"
    assert host.run("cat /proc/1/comm").stdout == "systemd\n"
    found = host.run(["python3", "-c", "import sys, venv; print(sys.version_info[:2])"]).stdout
    assert found == f"{python}\n"
    assert host.run("cat /opt/wheelhouse/wheel.whl").stdout == "of the machine"
    assert host.run("echo x >/opt/wheelhouse/new", check=False).status != 0
    with pytest.raises(HostError, match="ended with 3\nout\nerr\n"):
        host.run("echo out; echo err >&2; exit 3")


def test_testinfra_sees_the_units_and_files_of_a_host(lab: HostLab) -> None:
    host = lab.boot("web")
    host.put(
        "/etc/systemd/system/hello.service",
        "[Service]\nExecStart=sleep 1000\nRestart=always\n[Install]\nWantedBy=basic.target\n",
    )
    host.put("/srv/greeting", "grüß Gott", mode=0o640)
    host.run("systemctl daemon-reload; systemctl start hello")

    seen = host.testinfra
    assert seen.service("hello").is_running
    assert not seen.service("hello").is_enabled
    assert seen.service("hello").systemd_properties["Restart"] == "always"
    assert not seen.service("missing").exists
    assert seen.file("/srv/greeting").mode == 0o640
    assert seen.file("/srv/greeting").content_string == "grüß Gott"
    assert seen.interface("eth0").addresses[0] == host.address


def test_hosts_reach_each_other_and_the_test_machine_and_nobody_else(lab: HostLab, answering_machine: None) -> None:
    web, database = lab.create("web", "debian12"), lab.create("database", "debian13")
    web.start(wait=False)
    database.start(wait=False)
    web.wait_until_running()
    database.wait_until_running()
    answer(database)

    both = [database.address, host_network.MACHINE_ADDRESS]
    assert ask(web, *both) == dict.fromkeys(both, "True")
    # Nobody is reached by a route that is not there: neither the machine's own network nor the world.
    assert set(web.run("ip -4 route").stdout.split("\n")[:-1]) == {
        f"{host_network.SUBNET} dev eth0 proto kernel scope link src {web.address} ",
        f"{host_network.METADATA_ADDRESS} dev eth0 scope link ",
    }
    assert ask(web, "192.0.2.1", "8.8.8.8") == dict.fromkeys(["192.0.2.1", "8.8.8.8"], "OSError 101")
    assert web.run("ls /sys/class/net").stdout.split() == ["eth0", "lo"]
    assert web.run("cat /sys/class/net/eth0/address").stdout == f"{web.mac}\n"
    # And the machine's own network knows nothing of them.
    with lab.outside():
        own = subprocess.run(["ip", "-4", "address"], capture_output=True, text=True, check=True).stdout
    assert str(host_network.SUBNET[0]).rpartition(".")[0] not in own


def test_a_metadata_service_answers_at_the_address_where_hosts_look_for_it(
    lab: HostLab, answering_machine: None
) -> None:
    host = lab.boot("web")
    assert ask(host, host_network.METADATA_ADDRESS) == {host_network.METADATA_ADDRESS: "OSError 113"}
    lab.network.serve_metadata_address()
    assert ask(host, host_network.METADATA_ADDRESS) == {host_network.METADATA_ADDRESS: "True"}


@pytest.mark.parametrize("image", RELEASES)
def test_a_reboot_keeps_files_and_is_another_boot(lab: HostLab, image: str) -> None:
    host = lab.boot("web", image)
    host.put("/etc/systemd/system/hello.service", "[Service]\nExecStart=sleep 1000\n[Install]\nWantedBy=basic.target\n")
    host.run("systemctl enable --now hello; touch /run/gone")
    before, main = host.boot_id, process_one_started(host)
    assert before != Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    host.reboot()

    assert host.boot_id != before
    assert process_one_started(host) > main
    assert host.testinfra.service("hello").is_running
    assert not host.testinfra.file("/run/gone").exists
    assert host.testinfra.interface("eth0").addresses[0] == host.address


def process_one_started(host: BootedHost) -> int:
    return int(host.run("cut -d' ' -f22 /proc/1/stat").stdout)


def test_a_power_cut_ends_everything_at_once_and_keeps_what_was_synced(lab: HostLab) -> None:
    host = lab.boot("web")
    unit = "[Service]\nExecStart=sleep 1000\nExecStop=touch /srv/stopped-in-order\n"
    host.put("/etc/systemd/system/hello.service", unit)
    host.run("systemctl start hello; echo kept >/srv/kept; sync /srv/kept")
    before = host.boot_id

    host.power_cut(restore=False)

    assert not host.is_on
    assert host.memory() == 0
    with pytest.raises(HostError, match="web is off"):
        host.run("true")
    host.put("/srv/while-off", "x")

    host.start()

    assert host.boot_id != before
    assert host.run("ls /srv; cat /srv/kept").stdout == "kept\nwhile-off\nkept\n"
    assert not host.testinfra.service("hello").is_running
    assert host.journal().count("Started hello.service") == 1


def test_a_host_that_is_shut_down_stays_off_until_it_is_started(lab: HostLab) -> None:
    host = lab.boot("web")
    host.poweroff()
    assert not host.is_on
    host.start()
    assert host.run("systemctl is-system-running").stdout == "running\n"


def test_an_unplugged_host_loses_the_network_and_regains_it(lab: HostLab, answering_machine: None) -> None:
    host = lab.boot("web")
    machine = host_network.MACHINE_ADDRESS
    assert ask(host, machine) == {machine: "True"}
    host.unplug()
    assert ask(host, machine)[machine] != "True"
    assert "NO-CARRIER" in host.run("ip link show eth0").stdout
    host.plug()
    assert ask(host, machine) == {machine: "True"}


def test_a_small_disk_is_full_until_it_is_made_larger(lab: HostLab) -> None:
    host = lab.boot("web", disk="24m")
    fill = "dd if=/dev/zero of=/srv/filling bs=1M count=32 status=none"
    assert "No space left on device" in host.run(fill, check=False).stderr
    host.resize_disk("64m")
    host.run(fill)


def test_a_directory_is_copied_to_a_host_with_its_modes(lab: HostLab, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/hook").write_text("#!/bin/sh\necho run\n")
    (tmp_path / "deep/hook").chmod(0o755)
    host = lab.create("web")
    host.put("/srv/before boot", tmp_path)
    host.start()
    host.put("/srv/after boot", tmp_path)
    assert host.run(["/srv/before boot/deep/hook"]).stdout == "run\n"
    assert host.run(["/srv/after boot/deep/hook"]).stdout == "run\n"


def test_a_host_that_does_not_boot_tells_which_unit_failed(lab: HostLab) -> None:
    host = lab.create("web")
    unit = "[Service]\nType=oneshot\nExecStart=false\n[Install]\nWantedBy=multi-user.target\n"
    host.put("/etc/systemd/system/broken.service", unit)
    host.run_off("systemctl enable broken.service")
    with pytest.raises(HostError, match=r"degraded\n.*broken\.service"):
        host.start()


def test_nothing_is_left_when_a_test_ends() -> None:
    with HostLab() as lab:
        host = lab.boot("web")
        name, leader = lab.directory.name, host.leader
        assert traces(name)
        host.run("setsid sleep 1000 >/dev/null 2>&1 &")  # belongs to no unit of the host
    assert traces(name) == []
    assert not Path(f"/proc/{leader}").exists()


def test_nothing_is_left_of_a_run_that_was_killed_once_another_has_started() -> None:
    script = (
        "from host_lab import HostLab; lab = HostLab(); host = lab.boot('web'); print(lab.directory.name, flush=True)"
    )
    environment = {**os.environ, "PYTHONPATH": str(HELPERS)}
    command = [sys.executable, "-c", f"{script}; input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stdout
        name = run.stdout.readline().strip()
        with HostLab():
            assert traces(name), "the lab of a run that goes on was removed"
        run.send_signal(signal.SIGKILL)
        run.wait()
    with HostLab():
        assert traces(name) == []


def traces(lab: str) -> list[str]:
    """What there is of a lab: mounts, namespaces, control groups, processes, directories."""
    found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if lab in line]
    found += host_network.namespaces(lab)
    found += [str(path) for parent in host_leftovers.cgroup_parents() for path in parent.glob(f"{lab}*")]
    found += [str(path) for path in host_leftovers.BASE.glob(f"{lab}*")]
    found += [str(path) for path in Path("/run/systemd/nspawn/propagate").glob(f"{lab}*")]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        found += [str(path)] if lab.encode() in text else []
    return found


SOURCES = {
    "the deb822 form": (
        "debian.sources",
        "# Debian\nTypes: deb\nURIs: http://security.example.org/debian-security\nSuites: bookworm-security\n\n"
        "Types: deb deb-src\nURIs: http://mirror.example.org/debian\n  http://other.example.org/debian\n"
        "Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /a/key.gpg\n",
    ),
    "the deb822 form with a list of mirrors, as on cloud images": (
        "debian.sources",
        "Types: deb\nURIs: mirror+file://{directory}/mirrors.list\nSuites: trixie\nSigned-By:\n /a/key.gpg\n",
    ),
    "the form of one line": (
        "debian.list",
        "# deb http://old.example.org/debian bookworm main\ndeb-src http://source.example.org/debian trixie main\n"
        "deb [arch=amd64 signed-by=/a/key.gpg] http://apt.example.org stable-tools main\n"
        "deb [ signed-by=/a/key.gpg ] http://mirror.example.org/debian trixie main # ours\n",
    ),
}


@pytest.mark.parametrize("form", SOURCES)
def test_images_come_from_the_mirror_that_the_machine_uses(form: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("CODEDEPLOY_TEST_MIRROR", raising=False)
    name, text = SOURCES[form]
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / name).write_text(text.replace("{directory}", str(tmp_path)))
    (tmp_path / "mirrors.list").write_text("# ours\nhttp://mirror.example.org/debian\tpriority:1\n")
    found = mirror(tmp_path)
    assert found == ("http://mirror.example.org/debian", "/a/key.gpg")
    assert found.options == ["--keyring=/a/key.gpg"]


def test_a_machine_of_another_distribution_is_asked_for_a_mirror(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("CODEDEPLOY_TEST_MIRROR", raising=False)
    (tmp_path / "sources.list").write_text("deb http://mirror.example.org/other noble main\n")
    with pytest.raises(ImageError, match="Set CODEDEPLOY_TEST_MIRROR"):
        mirror(tmp_path)


def test_an_image_that_cannot_be_made_says_why_and_is_not_taken_for_whole(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CODEDEPLOY_TEST_IMAGES", str(tmp_path))
    monkeypatch.setenv("CODEDEPLOY_TEST_MIRROR", "http://127.0.0.1:9/debian")  # nobody listens there
    for _ in range(2):
        with pytest.raises(ImageError, match=r"127\.0\.0\.1:9/debian"):
            image_directory("debian12")
    assert not (tmp_path / IMAGES["debian12"].stamp).exists()


def test_another_package_list_is_another_image() -> None:
    image = IMAGES["debian12"]
    assert image._replace(packages=(*image.packages, "curl")).stamp != image.stamp
    assert image._replace(packages=tuple(reversed(image.packages))).stamp == image.stamp
    assert len({each.stamp for each in IMAGES.values()}) == len(IMAGES)
