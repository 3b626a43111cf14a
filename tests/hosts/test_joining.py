"""A fresh host joins by its user data alone: cloud-init runs the script, the agent polls, and a deployment comes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent import __version__
from agent.fleet.places import SHARED
from agent_host import revision
from agent_hosts import (
    CA_BUNDLE,
    CONFIG,
    DROP_INS,
    LOG,
    ON_PREMISES,
    ROOT,
    SERVICE_URL,
    SITE,
    Fleet,
    said,
    service_revision,
)
from agent_wheelhouse import NEXT_VERSION, SCRIPT_INSIDE, cloud_config, user_data
from booted_host import BootedHost, HostError
from cloud_seed import expect_metadata, seed, wait_for_cloud_init
from host_lab import NEEDED

pytestmark = NEEDED

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = PROJECT / "systemd" / "examples"
USERDATA = PROJECT / "userdata"


@pytest.mark.parametrize(
    "image", [pytest.param("debian12-cloud-init", marks=pytest.mark.soak_only), "debian13-cloud-init"]
)
def test_a_host_on_premises_joins_by_user_data_and_is_deployed_to(fleet: Fleet, image: str) -> None:
    host = fleet.create("rack", image, installed=False)
    fleet.register(host)
    packed = fleet.wheelhouse()
    seed(host, user_data(packed, AGENT_CONFIG=fleet.site.config, AGENT_VERSION=packed.version))
    host.start()
    wait_for_cloud_init(host)
    fleet.wait_for_poll(host)
    fleet.group()
    deploy_by_command_line(fleet, "v1")

    assert said(host) == "v1"
    the_agent_is_a_service_as_promised(host)
    host.run(["ls", "-L", *SHARED])  # the manual and the completions
    the_application_is_as_its_appspec_says(host)
    files_are_readable_by_those_who_may(host)
    nothing_temporary_is_left(host)
    the_script_may_run_again(host)


def test_a_host_joins_by_a_cloud_config_that_fetches_the_script(fleet: Fleet) -> None:
    host = fleet.create("rack", "debian12-cloud-init", installed=False)
    fleet.register(host)
    host.put(SCRIPT_INSIDE, USERDATA / "codedeploy-agent.sh")
    seed(host, cloud_config(fleet.wheelhouse(), AGENT_CONFIG=fleet.site.config))
    host.start()
    wait_for_cloud_init(host)
    fleet.wait_for_poll(host)
    fleet.group()
    assert fleet.deploy(fleet.upload(service_revision(fleet.directory, "v1")))["status"] == "Succeeded"
    assert said(host) == "v1"
    the_agent_is_a_service_as_promised(host)
    nothing_temporary_is_left(host)
    assert (
        host.run("ls -A /run | grep -vx codedeploy-agent | grep -c codedeploy-agent", check=False).stdout == "0\n"
    )  # neither parameters nor script


def test_a_cloud_config_whose_script_was_changed_fails_and_says_so(fleet: Fleet) -> None:
    host = fleet.create("rack", "debian12-cloud-init", installed=False)
    host.put(SCRIPT_INSIDE, "echo evil >/srv/evil\n")
    seed(host, cloud_config(fleet.wheelhouse()))
    host.start(wait=False)
    with pytest.raises(HostError, match=r"cloud-final\.service"):
        host.wait_until_running()
    with pytest.raises(HostError, match=r"FAILED \(70\): the SHA-256 of /opt/codedeploy-agent\.sh is"):
        wait_for_cloud_init(host)
    assert "FAILED (70)" in host.run("cat /var/log/codedeploy-agent-install.log").stdout
    assert host.run("ls -A /srv /opt").stdout.count("evil") == 0
    assert not host.testinfra.file("/opt/codedeploy-agent").exists


def test_an_instance_joins_by_its_metadata_and_is_deployed_to(fleet: Fleet) -> None:
    """User data, identity and credentials: all from 169.254.169.254, as on EC2."""
    host = fleet.create("instance", "debian12-cloud-init", installed=False)
    expect_metadata(host)
    instance = fleet.sandbox.run_instance(
        {"Application": fleet.application},
        address=host.address,
        user_data=user_data(fleet.wheelhouse(), AGENT_CONFIG=fleet.site.config),
        tokens="optional",  # cloud-init asks without one where it does not see Amazon's firmware
    )
    host.start()
    wait_for_cloud_init(host)
    identity = f"arn:aws:ec2:{fleet.sandbox.region}:{fleet.sandbox.account}:instance/{instance}"
    fleet.sandbox.wait_for_poll(identity)
    tags = [{"Key": "Application", "Value": fleet.application, "Type": "KEY_AND_VALUE"}]
    fleet.sandbox.create_group(fleet.application, "group", {}, ec2TagFilters=tags)
    deploy_by_command_line(fleet, "v1")

    assert said(host) == "v1"
    the_agent_is_a_service_as_promised(host)
    log = host.run(["cat", LOG]).stdout
    assert f"This host is {identity}" in log
    assert "IMDSv2" in log
    assert not host.testinfra.file(ON_PREMISES).exists
    nothing_temporary_is_left(host)


def test_a_server_in_a_rack_joins_by_one_command_and_leaves_by_another(fleet: Fleet) -> None:
    """``codedeploy-agent register`` on the host, with an administrator's key in the environment only."""
    host = fleet.create("rack")
    host.start()
    agent = host.testinfra.service("codedeploy-agent")
    assert agent.is_running  # it waits until it is told who it is
    key = {name: fleet.sandbox.description[name] for name in ("access_key_id", "secret_access_key")}
    as_administrator = [
        "env",
        f"AWS_ENDPOINT_URL={SERVICE_URL}",
        f"AWS_CA_BUNDLE={CA_BUNDLE}",
        *(f"AWS_{k.upper()}={v}" for k, v in key.items()),
    ]
    tag = f"Application={fleet.application}"
    command = ["codedeploy-agent", "register", "--instance-name", host.name, "--region", fleet.sandbox.region]
    host.run([*as_administrator, *command, "--tag", tag, "--create-iam-user"])

    assert host.testinfra.file(ON_PREMISES).mode == 0o600
    fleet.sandbox.wait_for_poll(f"arn:aws:iam::{fleet.sandbox.account}:user/AWS/CodeDeploy/{host.name}")
    fleet.group()
    assert fleet.deploy(fleet.upload(service_revision(fleet.directory, "v1")))["status"] == "Succeeded"
    assert said(host) == "v1"
    for path in ("/etc", "/opt/codedeploy-agent", "/var/log"):
        assert host.run(["grep", "-rlF", "-e", key["secret_access_key"], path], check=False).stdout == ""

    host.run([*as_administrator, "codedeploy-agent", "deregister", "--region", fleet.sandbox.region])
    assert not host.testinfra.file(ON_PREMISES).exists
    known = fleet.sandbox.client("codedeploy").list_on_premises_instances(registrationStatus="Registered")
    assert host.name not in known["instanceNames"]
    users = fleet.sandbox.client("iam").list_users()["Users"]
    assert host.name not in [user["UserName"] for user in users]


def guide(heading: str) -> list[str]:
    """Return the commands that docs/installing.md has under a heading."""
    text = (PROJECT / "docs" / "installing.md").read_text()
    section = re.search(rf"^## {heading}$(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert section, heading
    commands = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    assert commands, heading
    return commands


def test_the_commands_of_the_guide_do_what_it_says(fleet: Fleet) -> None:
    host = fleet.create("web", installed=False)
    fleet.register(host)
    host.start()
    first, newer = fleet.wheelhouse(), fleet.wheelhouse(NEXT_VERSION)
    host.put("/home/me/codedeploy-agent.sh", USERDATA / "codedeploy-agent.sh")
    host.run(f"cp {first.source} /home/me/")
    for name in ("ssl", "venv", "zlib", "hashlib", "agent", "pip"):  # what somebody may have left in the directory
        host.put(f"/home/me/{name}.py", "open('/srv/was-run', 'w')\n")
    (by_hand,) = guide("By hand")
    assert f"/codedeploy-agent-{first.version}-" in by_hand
    host.put(CONFIG, fleet.site.config)
    host.run(f"cd /home/me && {by_hand.replace('HEX', first.sha256)}")
    fleet.wait_for_poll(host)
    assert not host.testinfra.file("/srv/was-run").exists

    upgrade, back, remove = guide("Upgrade, go back, remove")
    host.run(re.sub(r"s3://\S+", newer.source, upgrade).replace("HEX", newer.sha256))
    assert NEXT_VERSION in host.run("codedeploy-agent --version").stdout
    host.run(back)
    assert first.version in host.run("codedeploy-agent --version").stdout
    fleet.wait_for_poll(host)

    # As logrotate does it.
    host.run(f"mv {LOG} {LOG}.1 && systemctl reload codedeploy-agent")
    fleet.group()
    assert fleet.deploy(fleet.upload(service_revision(fleet.directory, "v1")))["status"] == "Succeeded"
    assert "ApplicationStart" in host.run(["cat", LOG]).stdout
    assert host.testinfra.service("codedeploy-agent").systemd_properties["NRestarts"] == "0"

    host.run(remove)
    assert not host.testinfra.service("codedeploy-agent").exists
    assert host.testinfra.file(ON_PREMISES).exists  # with logs and records, as it says
    assert host.testinfra.file(LOG).exists


def test_an_image_of_a_host_that_was_deployed_to_makes_hosts_of_their_own(fleet: Fleet) -> None:
    first = fleet.join("first")
    fleet.group()
    assert fleet.deploy(fleet.upload(service_revision(fleet.directory, "v1")))["status"] == "Succeeded"
    first.run("\n".join(["set -e", *guide("An image with the agent in it")]))
    first.poweroff()
    fleet.sandbox.client("codedeploy").deregister_on_premises_instance(instanceName=first.name)

    second = fleet.site.lab.create(f"second-{fleet.number}", "debian12", layers=[first.written, *first.lower[:-1]])
    fleet.hosts.append(second)
    fleet.register(second)
    second.start()
    fleet.wait_for_poll(second)
    assert fleet.deploy(fleet.upload(service_revision(fleet.directory, "v2")))["status"] == "Succeeded"
    assert said(second) == "v2"
    told = second.run(
        ["grep", "-rl", first.name, "/opt/codedeploy-agent", "/etc/codedeploy-agent", "/var/log/aws"], check=False
    )
    assert told.stdout == "", "the image knows nothing of the host that it was made of"


def test_a_hardened_agent_deploys_an_application_that_systemd_starts(fleet: Fleet) -> None:
    host = fleet.create("web")
    host.put(f"{DROP_INS}/hardened.conf", EXAMPLES / "hardened.conf")
    fleet.register(host)
    host.start()
    fleet.wait_for_poll(host)
    assert host.testinfra.service("codedeploy-agent").systemd_properties["ProtectKernelModules"] == "yes"
    fleet.group()
    assert fleet.deploy(fleet.upload(service_revision(fleet.directory, "v1")))["status"] == "Succeeded"
    assert said(host) == "v1"


def test_an_agent_that_is_not_root_deploys_where_it_may_write(fleet: Fleet) -> None:
    host = fleet.create("web")
    host.put(f"{DROP_INS}/user.conf", EXAMPLES / "user.conf")
    fleet.register(host)
    add = "useradd --system --home-dir /opt/codedeploy-agent --shell /usr/sbin/nologin codedeploy"
    host.run_off(f"{add} && chown codedeploy: {ON_PREMISES} && install -d -o codedeploy {SITE}")
    host.start()
    fleet.wait_for_poll(host)
    fleet.group()
    source = revision(fleet.directory / "v1", {"AfterInstall": f"id -un >{SITE}/hook"}, to=Path(SITE))
    assert fleet.deploy(fleet.upload(source))["status"] == "Succeeded"

    assert host.run(f"cat {SITE}/hook").stdout == "codedeploy\n"
    owned = [f"{SITE}/index.html", LOG, f"{ROOT}/agent-state/status.json", ON_PREMISES]
    assert {host.testinfra.file(path).user for path in owned} == {"codedeploy"}
    main = host.testinfra.service("codedeploy-agent").systemd_properties["MainPID"]
    assert host.run(["stat", "--format=%U", f"/proc/{main}"]).stdout == "codedeploy\n"


def deploy_by_command_line(fleet: Fleet, version: str) -> None:
    """Push and deploy by the real AWS CLI, as users do."""
    aws, name = fleet.sandbox.aws, fleet.application
    aws("s3", "mb", f"s3://{name}")
    source = service_revision(fleet.directory, version)
    place = f"s3://{name}/hello.zip"
    aws("deploy", "push", "--application-name", name, "--s3-location", place, "--source", str(source))
    location = f"bucket={name},key=hello.zip,bundleType=zip"
    made = aws(
        *("deploy", "create-deployment", "--application-name", name, "--deployment-group-name", "group"),
        *("--s3-location", location),
    )
    ended = fleet.sandbox.wait(made["deploymentId"])
    assert ended["status"] == "Succeeded", fleet.sandbox.targets(made["deploymentId"])


def the_agent_is_a_service_as_promised(host: BootedHost) -> None:
    agent = host.testinfra.service("codedeploy-agent")
    assert agent.is_enabled
    assert agent.is_running
    found = agent.systemd_properties
    promised = {"Type": "notify", "KillMode": "process", "Restart": "always", "NRestarts": "0", "Result": "success"}
    assert {name: found[name] for name in promised} == promised
    assert found["WatchdogUSec"] == "3min"
    assert re.fullmatch(r"Polling(; last outcome: .*)?", found["StatusText"])
    for program in ("codedeploy-agent", "codedeploy-local"):
        link = host.testinfra.file(f"/usr/local/bin/{program}")
        assert link.is_symlink
        assert link.linked_to.startswith("/opt/codedeploy-agent/versions/")
    assert __version__ in host.run("codedeploy-agent --version").stdout
    assert host.run("codedeploy-agent status", check=False).status == 0


def the_application_is_as_its_appspec_says(host: BootedHost) -> None:
    hello = host.testinfra.service("hello")
    assert hello.is_running
    assert hello.is_enabled
    assert host.testinfra.socket("tcp://0.0.0.0:8080").is_listening
    program = host.testinfra.file("/srv/hello/hello.py")
    assert (program.user, program.group, program.mode) == ("root", "www-data", 0o640)
    directory = host.testinfra.file("/srv/hello")
    assert (directory.user, directory.group, directory.mode) == ("root", "www-data", 0o750)
    unit = host.testinfra.file("/etc/systemd/system/hello.service")
    assert (unit.user, unit.group, unit.mode) == ("root", "root", 0o644)
    (process,) = host.testinfra.process.filter(user="www-data", comm="python3")
    assert "/srv/hello/hello.py" in process.args


def files_are_readable_by_those_who_may(host: BootedHost) -> None:
    desired = {
        CONFIG: 0o644,
        ON_PREMISES: 0o600,
        LOG: 0o644,
        f"{ROOT}/deployment-logs/codedeploy-agent-deployments.log": 0o644,
        f"{ROOT}/agent-state": 0o700,
        f"{ROOT}/agent-state/status.json": 0o600,
        "/opt/codedeploy-agent": 0o755,
        "/opt/codedeploy-agent/installed.json": 0o644,
        "/etc/systemd/system/codedeploy-agent.service": 0o644,
    }
    found = {path: host.testinfra.file(path) for path in desired}
    assert {path: file.mode for path, file in found.items()} == desired
    assert {file.user for file in found.values()} == {"root"}
    log = host.run(["cat", LOG]).stdout
    assert "LifecycleEvent" not in log or "secret" not in log.lower()
    keys = re.findall(r"aws_secret_access_key: (\S+)", host.run(["cat", ON_PREMISES], check=False).stdout)
    for key in keys:
        left = host.run(["grep", "-rlF", "-e", key, "/opt/codedeploy-agent", "/var/log", "/tmp", "/run"], check=False)
        assert left.stdout == ""


def nothing_temporary_is_left(host: BootedHost) -> None:
    names = [word for pattern in ("*~", ".codedeploy-*", "*.new", "*.tmp") for word in ("-o", "-name", pattern)]
    places = ["/opt", "/srv", "/etc", "/usr/local", "/var/log", "/root", "/home"]
    assert host.run(["find", *places, "-xdev", "(", *names[1:], ")"]).stdout == ""
    assert host.run("find /tmp /var/tmp -mindepth 1 ! -name '.*-unix' ! -path '*/systemd-private-*'").stdout == ""
    assert host.run("ls -A /opt/codedeploy-agent/versions").stdout.count("\n") == 1


def the_script_may_run_again(host: BootedHost) -> None:
    main = host.testinfra.service("codedeploy-agent").systemd_properties["MainPID"]
    host.run("sh /var/lib/cloud/instance/scripts/part-001")
    assert host.testinfra.service("codedeploy-agent").systemd_properties["MainPID"] == main
    assert host.run("tail -n 1 /var/log/codedeploy-agent-install.log").stdout.endswith("installed\n")
