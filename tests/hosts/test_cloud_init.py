"""User data as clouds give it: cloud-init of a booted host finds it and runs it, once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

import host_network
from agent.sandbox.metadata import MetadataApp, MetadataInstance
from booted_host import HostError
from cloud_seed import expect_metadata, seed, wait_for_cloud_init
from host_lab import NEEDED, HostLab

pytestmark = NEEDED

SCRIPT = "#!/bin/sh\necho run >>/srv/runs\nhostname >/srv/hostname\n"
CLOUD_CONFIG = """#cloud-config
hostname: from-user-data
write_files:
- path: /srv/hook
  permissions: "0750"
  content: |
    #!/bin/sh
    echo run >>/srv/runs
runcmd:
- [/srv/hook]
"""


@pytest.mark.parametrize(
    "image", ["debian12-cloud-init", pytest.param("debian13-cloud-init", marks=pytest.mark.soak_only)]
)
def test_a_script_in_user_data_runs_at_the_first_boot_only(lab: HostLab, image: str) -> None:
    host = lab.create("web", image)
    seed(host, SCRIPT)
    host.start()
    wait_for_cloud_init(host)
    assert host.run("cat /srv/runs /srv/hostname").stdout == "run\nweb\n"

    host.reboot()
    wait_for_cloud_init(host)
    assert host.run("cat /srv/runs").stdout == "run\n"


def test_a_cloud_config_writes_its_files_and_runs_its_commands(lab: HostLab) -> None:
    host = lab.create("web", "debian12-cloud-init")
    seed(host, CLOUD_CONFIG)
    host.start()
    wait_for_cloud_init(host)
    assert host.testinfra.file("/srv/hook").mode == 0o750
    assert host.run("cat /srv/runs; hostname").stdout == "run\nfrom-user-data\n"
    assert host.testinfra.service("cloud-final").is_enabled


def test_user_data_that_fails_does_not_look_like_success(lab: HostLab) -> None:
    host = lab.create("web", "debian12-cloud-init")
    seed(host, "#!/bin/sh\necho 'no wheel of that version'\nexit 7\n")
    host.start(wait=False)
    with pytest.raises(HostError, match=r"degraded\n(.|\n)*cloud-final\.service"):
        host.wait_until_running()
    with pytest.raises(HostError, match="no wheel of that version"):
        wait_for_cloud_init(host)


@contextmanager
def metadata_service(lab: HostLab, app: MetadataApp) -> Iterator[None]:
    """Serve the app where hosts of the lab expect their metadata."""
    lab.network.serve_metadata_address()
    with lab.network.entered():  # a socket stays in the namespace where it was made, whoever serves it
        server = make_server(host_network.METADATA_ADDRESS, 80, app, handler_class=Silent)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Silent(WSGIRequestHandler):
    """A handler that looks up no names and prints nothing."""

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    "image", ["debian12-cloud-init", pytest.param("debian13-cloud-init", marks=pytest.mark.soak_only)]
)
def test_each_host_gets_its_own_user_data_from_the_metadata_service(lab: HostLab, image: str) -> None:
    app = MetadataApp(allow_v1=True)
    hosts = [lab.create(name, image) for name in ("one", "two")]
    for number, host in enumerate(hosts, start=1):
        expect_metadata(host)
        script = f"#!/bin/sh\necho {host.name} >>/srv/runs\n".encode()
        instance = MetadataInstance(
            f"i-{number:017}",
            host_name=f"host-{host.name}",
            private_address=host.address,
            mac=host.mac,
            user_data=script,
        )
        app.add(instance, address=host.address)

    with metadata_service(lab, app):
        for host in hosts:
            host.start(wait=False)
        for number, host in enumerate(hosts, start=1):
            host.wait_until_running()
            wait_for_cloud_init(host)
            assert host.run("cat /srv/runs; hostname").stdout == f"{host.name}\nhost-{host.name}\n"
            assert host.run("cloud-init query instance_id").stdout == f"i-{number:017}\n"
