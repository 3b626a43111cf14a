"""What an administrator, a failing machine or a failing network does in the middle of a deployment."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from agent import __version__
from agent_host import revision
from agent_hosts import DROP_INS, ROOT, SITE, WAITING, Fleet, exists, said, service_revision, status
from agent_wheelhouse import NEXT_VERSION, Wheelhouse, user_data
from booted_host import BootedHost
from host_lab import NEEDED
from waiting import until

pytestmark = NEEDED

FAILED_AFTER_RESTART = 7  # error code of the official agents


def begin_waiting(fleet: Fleet, host: BootedHost, version: str = "v1", *, then: str = "") -> str:
    """Begin a deployment and wait until its hook runs, which goes on when /run/go is there; gives its id."""
    host.run("rm -f /run/here /run/go")
    source = service_revision(fleet.directory, version, hooks={"BeforeInstall": f"({WAITING}) || exit 1\n{then}"})
    deployment = fleet.begin(fleet.upload(source))
    until(exists(host, "/run/here"), "the hook to run")
    return deployment


def told_to_systemd(host: BootedHost) -> dict[str, str]:
    """The properties of the agent's unit at this moment."""
    found: dict[str, str] = host.testinfra.service("codedeploy-agent").systemd_properties
    return found


def main_process(host: BootedHost) -> str:
    return told_to_systemd(host)["MainPID"]


def reported_once(fleet: Fleet, host: BootedHost) -> None:
    """Check that the service was given one result for each command."""
    commands = [told["HostCommandIdentifier"] for told in fleet.completions(host)]
    assert len(commands) == len(set(commands)) > 0


def install(host: BootedHost, packed: Wheelhouse) -> None:
    host.run(["codedeploy-agent", "install", "--source", packed.source, "--sha256", packed.sha256])


def test_the_agent_is_restarted_during_a_hook_and_the_deployment_succeeds(fleet: Fleet) -> None:
    host = fleet.join()
    fleet.group()
    deployment = begin_waiting(fleet, host, then="echo $PPID >> /srv/runs")
    before = main_process(host)
    host.run("systemctl restart codedeploy-agent")
    assert main_process(host) != before
    host.run("touch /run/go")
    assert fleet.sandbox.wait(deployment)["status"] == "Succeeded"
    assert len(host.run("cat /srv/runs").stdout.splitlines()) == 1
    reported_once(fleet, host)
    assert said(host) == "v1"
    the_journal_has_each_event_once(host, deployment)


def the_journal_has_each_event_once(host: BootedHost, deployment: str) -> None:
    """Its fields find the deployment's lines, also those of workers, and stderr repeats none of them."""
    found = host.run(f"journalctl -u codedeploy-agent DEPLOYMENT_ID={deployment} -o cat").stdout.splitlines()
    assert [line for line in found if line.startswith("Install ")][:1] == ["Install started"]
    assert f"Deployment {deployment} ended: Succeeded" in found
    whole = host.run("journalctl -u codedeploy-agent -o cat").stdout.splitlines()
    assert sorted(line for line in whole if line in found) == sorted(found)
    assert len(set(found)) == len(found)


def test_the_agent_is_upgraded_during_a_hook_and_goes_back_after_it(fleet: Fleet, soak: bool) -> None:
    host = fleet.join()
    fleet.group()
    newer = fleet.wheelhouse(NEXT_VERSION)
    for turn in range(10 if soak else 1):
        deployment = begin_waiting(fleet, host, f"up-{turn}")
        install(host, newer)
        assert NEXT_VERSION in host.run("codedeploy-agent --version").stdout
        host.run("touch /run/go")
        assert fleet.sandbox.wait(deployment)["status"] == "Succeeded"

        deployment = begin_waiting(fleet, host, f"down-{turn}")
        host.run(["codedeploy-agent", "install", "--version", __version__])
        assert __version__ in host.run("codedeploy-agent --version").stdout
        host.run("touch /run/go")
        assert fleet.sandbox.wait(deployment)["status"] == "Succeeded"
        assert said(host) == f"down-{turn}"
    reported_once(fleet, host)
    assert len(host.run("ls /opt/codedeploy-agent/versions").stdout.split()) == 2


def test_a_stopped_agent_leaves_what_was_deployed_alone(fleet: Fleet) -> None:
    host = fleet.join()
    fleet.group()
    # One process that systemd started, and one that the hook has left behind, in the agent's own control group.
    own = "setsid python3 -m http.server 8081 --directory /srv/hello </dev/null >/dev/null 2>&1 &"
    start = f"systemctl restart hello\n{own}"
    source = service_revision(fleet.directory, "v1", hooks={"ApplicationStart": start})
    assert fleet.deploy(fleet.upload(source))["status"] == "Succeeded"
    asked = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8081/version').read().decode())"
    until(lambda: host.run(["python3", "-c", asked], check=False).stdout == "v1\n", "the program to serve")

    host.run("systemctl stop codedeploy-agent")
    assert told_to_systemd(host)["ActiveState"] == "inactive"
    assert told_to_systemd(host)["Result"] == "success"  # and not "timeout": systemd did not have to kill it
    assert said(host) == "v1"
    assert host.run(["python3", "-c", asked]).stdout == "v1\n"
    # And a start again does not touch it either.
    host.run("systemctl start codedeploy-agent")
    fleet.wait_for_poll(host)
    assert host.run(["python3", "-c", asked]).stdout == "v1\n"


@pytest.mark.parametrize("how", ["reboot", "power cut"])
def test_a_host_that_goes_down_during_a_hook_reports_that_after_the_boot(fleet: Fleet, how: str) -> None:
    host = fleet.join()
    fleet.group()
    deployment = begin_waiting(fleet, host, then="echo $DEPLOYMENT_ID >> /srv/runs")
    host.run("echo begun >> /srv/runs")
    if how == "reboot":
        host.reboot()
    else:
        host.power_cut()
    assert fleet.sandbox.wait(deployment)["status"] == "Failed"
    payload = json.loads(fleet.completions(host)[-1]["Diagnostics"]["Payload"])
    assert payload["error_code"] == FAILED_AFTER_RESTART, payload
    assert "BeforeInstall" in payload["message"]
    # It was not run a second time, and the host is well.
    assert host.run("cat /srv/runs").stdout == "begun\n"
    assert fleet.deploy(fleet.upload(service_revision(fleet.directory, "v2")))["status"] == "Succeeded"
    assert said(host) == "v2"
    reported_once(fleet, host)


MANY = 3000


def many_files(fleet: Fleet, version: str) -> Path:
    """A revision of many files, each of which holds the version, and some of which no other version has."""
    names = [f"{n:05}-{version if n % 10 == 0 else 'always'}" for n in range(MANY)]
    return revision(fleet.directory / version, {}, files=dict.fromkeys(names, version), to=Path(SITE))


def installed(host: BootedHost) -> set[str]:
    """The versions whose files are there at the moment."""
    return set(host.run(f"cat {SITE}/* | fold -w 2 | sort -u").stdout.split())


def files(host: BootedHost) -> int:
    """How many files there are, hidden ones with them."""
    return int(host.run(f"ls -A {SITE} | wc -l").stdout)


@pytest.mark.parametrize("turn", [0, *(pytest.param(n, marks=pytest.mark.soak_only) for n in range(1, 10))])
def test_a_power_cut_during_an_install_leaves_one_version_whole(fleet: Fleet, turn: int) -> None:
    host = fleet.join()
    fleet.group()
    assert fleet.deploy(fleet.upload(many_files(fleet, "v1")))["status"] == "Succeeded"
    assert installed(host) == {"v1"}
    deployment = fleet.begin(fleet.upload(many_files(fleet, "v2")))
    journals = host.root / ROOT.lstrip("/") / "agent-state/install"  # looked at from outside, which is quicker
    until(lambda: journals.is_dir() and any(journals.iterdir()), "the Install to begin")
    time.sleep(turn * 0.05)
    host.power_cut(restore=False)
    assert any(journals.iterdir()) or turn > 0, "the Install was over before the power was cut"
    host.start()

    assert fleet.sandbox.wait(deployment)["status"] in ("Failed", "Succeeded")
    until(lambda: not any(journals.iterdir()), "the interrupted Install to be brought to its end")
    assert len(installed(host)) == 1
    assert files(host) == MANY
    assert fleet.deploy(fleet.upload(many_files(fleet, "v3")))["status"] == "Succeeded"
    assert installed(host) == {"v3"}
    assert files(host) == MANY


def test_a_result_arrives_after_the_network_was_away(fleet: Fleet, soak: bool) -> None:
    host = fleet.join()
    fleet.group()
    deployment = begin_waiting(fleet, host, then="touch /srv/done")
    main = main_process(host)
    host.unplug()
    host.run("touch /run/go")
    until(exists(host, "/srv/done"), "the hook to end")
    time.sleep(120 if soak else 4)
    assert fleet.sandbox.events(deployment)[host.name]["BeforeInstall"] == "InProgress"
    host.plug()
    assert fleet.sandbox.wait(deployment)["status"] == "Succeeded"
    reported_once(fleet, host)
    assert main_process(host) == main


def test_a_full_disk_is_named_and_a_deployment_succeeds_once_there_is_room(fleet: Fleet) -> None:
    host = fleet.join(disk="64m")
    fleet.group()
    assert fleet.deploy(fleet.upload(service_revision(fleet.directory, "v1")))["status"] == "Succeeded"
    large = service_revision(fleet.directory, "v2")
    (large / "app/large").write_bytes(bytes(80 << 20))  # which packs well, so that it is unpacking that fails
    bundle = fleet.upload(large)
    found = fleet.deploy(bundle)
    assert found["status"] == "Failed"
    diagnostics = fleet.failure(found["deploymentId"], host)["diagnostics"]
    assert "space" in diagnostics["message"], diagnostics
    assert host.run("cat /srv/hello/version").stdout == "v1"

    host.resize_disk("512m")
    assert fleet.deploy(bundle)["status"] == "Succeeded"
    assert said(host) == "v2"


def test_a_command_that_comes_while_the_disk_is_full_waits_for_room(fleet: Fleet) -> None:
    host = fleet.join(disk="48m")
    fleet.group()
    bundle = fleet.upload(service_revision(fleet.directory, "v1"))
    host.run("dd if=/dev/zero of=/srv/fill bs=64k; dd if=/dev/zero of=/srv/rest bs=1", check=False)
    deployment = fleet.begin(bundle)
    until(lambda: "space" in told_to_systemd(host)["StatusText"], "the problem to be told")
    host.run("rm /srv/fill /srv/rest")
    assert fleet.sandbox.wait(deployment)["status"] == "Succeeded"
    assert said(host) == "v1"
    until(lambda: told_to_systemd(host)["StatusText"].startswith("Polling; last outcome: "), "systemd to be told")


def test_metadata_that_come_late_are_waited_for(fleet: Fleet, soak: bool) -> None:
    host = fleet.create("instance")
    instance = fleet.sandbox.run_instance({"Application": fleet.application}, address=host.address)
    host.unplug()
    host.start()  # no unit has failed: the agent is up, and waits
    time.sleep(60 if soak else 2)
    assert told_to_systemd(host)["NRestarts"] == "0"
    assert told_to_systemd(host)["ActiveState"] == "active"
    assert not told_to_systemd(host)["StatusText"].startswith("Polling")
    host.plug()
    identity = f"arn:aws:ec2:{fleet.sandbox.region}:{fleet.sandbox.account}:instance/{instance}"
    fleet.sandbox.wait_for_poll(identity)
    until(lambda: told_to_systemd(host)["StatusText"] == "Polling", "systemd to be told")
    assert told_to_systemd(host)["NRestarts"] == "0"


def test_an_outage_of_the_service_restarts_no_agent_and_a_stuck_agent_is_restarted(fleet: Fleet) -> None:
    host = fleet.create("web")
    fleet.register(host)
    host.put(f"{DROP_INS}/impatient.conf", "[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\nRestartSec=0\n")
    host.start()
    fleet.wait_for_poll(host)
    main = main_process(host)
    host.unplug()
    time.sleep(5)
    host.plug()
    assert main_process(host) == main
    assert told_to_systemd(host)["NRestarts"] == "0"

    fleet.killed_on_purpose = True
    host.run(f"kill -STOP {main}")
    until(lambda: told_to_systemd(host)["NRestarts"] == "1", "systemd to start another")
    fleet.group()
    assert fleet.deploy(fleet.upload(service_revision(fleet.directory, "v1")))["status"] == "Succeeded"
    assert main_process(host) != main


def test_a_clock_that_is_a_day_off_is_named(fleet: Fleet) -> None:
    """By libfaketime in the agent's process; the machine's own clock is shared by all hosts."""
    host = fleet.create("web")
    fleet.register(host)
    lines = ["[Service]", "Environment=FAKETIME=-1d FAKETIME_DONT_FAKE_MONOTONIC=1"]
    lines += ["Environment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"]
    host.put(f"{DROP_INS}/clock.conf", "\n".join([*lines, ""]))
    host.start()
    problem = until(lambda: (status(host).get("problem") or {}).get("text"), "the agent to see that")
    assert "clock" in problem
    assert "clock" in told_to_systemd(host)["StatusText"]
    shown = host.run("codedeploy-agent status", check=False)
    assert "clock" in shown.stdout + shown.stderr
    # And it goes on by itself, once the clock is right.
    host.run(f"rm {DROP_INS}/clock.conf && systemctl daemon-reload")
    host.run("systemctl restart codedeploy-agent")
    fleet.wait_for_poll(host)


def official_package(host: BootedHost) -> None:
    """Install and start something that looks like the official agent's package, with scripts that clean up too well."""
    build = "/root/package"
    control = ["Package: codedeploy-agent", "Version: 1.8.1-1", "Architecture: all"]
    control += ["Maintainer: Nobody <nobody@example.org>", "Description: a stand-in", ""]
    host.put(f"{build}/DEBIAN/control", "\n".join(control))
    host.put(f"{build}/DEBIAN/conffiles", "/etc/codedeploy-agent/conf/codedeployagent.yml\n")
    host.put(f"{build}/DEBIAN/prerm", "#!/bin/sh\nrm -rf /opt/codedeploy-agent/deployment-root\n", mode=0o755)
    host.put(
        f"{build}/etc/codedeploy-agent/conf/codedeployagent.yml",
        "---\n:root_dir: /opt/codedeploy-agent/deployment-root\n",
    )
    host.put(f"{build}/opt/codedeploy-agent/bin/codedeploy-agent", "#!/bin/sh\nexec sleep 10000\n", mode=0o755)
    unit = "[Service]\nExecStart=/opt/codedeploy-agent/bin/codedeploy-agent\n[Install]\nWantedBy=multi-user.target\n"
    host.put(f"{build}/usr/lib/systemd/system/codedeploy-agent.service", unit)
    host.run(
        f"dpkg-deb --build {build} /root/official.deb && dpkg -i /root/official.deb && rm -r {build} /root/official.deb"
    )
    host.run("systemctl daemon-reload && systemctl enable --now codedeploy-agent")


def official_state(host: BootedHost, group: str) -> None:
    """What the official agent has installed and noted for one deployment of a group."""
    directory = f"{ROOT}/{group}/d-OFFICIAL1"
    archive = f"{directory}/deployment-archive"
    appspec = "version: 0.0\nos: linux\nhooks:\n  ApplicationStop:\n    - location: stop.sh\n"
    host.put(f"{archive}/appspec.yml", appspec)
    host.put(f"{archive}/stop.sh", "#!/bin/sh\ntouch /srv/old-one-was-stopped\n", mode=0o755)
    for path in ("/srv/hello/old/deep/file", "/srv/hello/version", "/srv/hello/old/foreign"):
        host.put(path, "of the official agent")
    listed = ["/srv/hello", "/srv/hello/old", "/srv/hello/old/deep", "/srv/hello/old/deep/file", "/srv/hello/version"]
    notes = f"{ROOT}/deployment-instructions/{group}"
    host.put(f"{notes}-cleanup", "".join(f"{path}\n" for path in listed))
    copies = [{"type": "copy", "source": archive, "destination": path} for path in listed]
    host.put(f"{notes}-install.json", json.dumps({"instructions": copies}))
    host.put(f"{notes}_last_successful_install", directory)
    host.put(f"{notes}_most_recent_install", directory)


def the_official_agent_runs_again_where_its_package_stays(host: BootedHost, fleet: Fleet) -> None:
    """Another program holds dpkg's lock, as at an unattended upgrade."""
    take = (
        "import fcntl, time; lock = open('/var/lib/dpkg/lock', 'w'); fcntl.lockf(lock, fcntl.LOCK_EX); time.sleep(1000)"
    )
    host.run(["systemd-run", "--quiet", "--unit=upgrade", "python3", "-c", take])
    until(lambda: host.run("dpkg --remove nothing", check=False).status == 2, "the lock to be held")
    refused = host.run(["sh", "-c", user_data(fleet.wheelhouse(), AGENT_TAKE_OVER="yes")], check=False)
    host.run("systemctl stop upgrade")
    assert refused.status != 0
    log = host.run("cat /var/log/codedeploy-agent-install.log").stdout
    assert "remove the official package" in log
    assert "The official agent is running again." in log
    main = host.testinfra.service("codedeploy-agent").systemd_properties["MainPID"]
    assert "sleep" in host.run(["cat", f"/proc/{main}/comm"]).stdout


def test_an_official_agents_host_is_taken_over_with_what_it_has_deployed(fleet: Fleet) -> None:
    host = fleet.create("old", installed=False)
    host.start()
    fleet.group()
    official_package(host)
    fleet.register(host)
    about = fleet.sandbox.client("codedeploy").get_deployment_group(
        applicationName=fleet.application, deploymentGroupName="group"
    )
    official_state(host, about["deploymentGroupInfo"]["deploymentGroupId"])
    # The configuration stays the old one's, as an administrator has completed it for this service.
    host.put("/etc/codedeploy-agent/conf/codedeployagent.yml", fleet.site.config)

    refused = host.run(["sh", "-c", user_data(fleet.wheelhouse())], check=False)
    assert refused.status != 0
    assert "--take-over" in host.run("cat /var/log/codedeploy-agent-install.log").stdout
    assert host.testinfra.service("codedeploy-agent").is_running  # the official one, untouched
    the_official_agent_runs_again_where_its_package_stays(host, fleet)
    host.run(["sh", "-c", user_data(fleet.wheelhouse(), AGENT_TAKE_OVER="yes")])

    fleet.wait_for_poll(host)
    kept = host.run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", "codedeploy-agent"]).stdout
    assert kept == "config-files"
    assert fleet.deploy(fleet.upload(service_revision(fleet.directory, "v1")))["status"] == "Succeeded"
    assert said(host) == "v1"
    assert host.testinfra.file("/srv/old-one-was-stopped").exists
    assert host.run("find /srv/hello/old").stdout.split() == ["/srv/hello/old", "/srv/hello/old/foreign"]
    assert host.run("find /opt/codedeploy-agent/takeover -name '*-cleanup'").stdout != ""


def paths(host: BootedHost) -> set[str]:
    """Every path on the host's disk, without what other programs write at any time."""
    skipped = [word for path in ("/var/log/journal", "/tmp", "/var/tmp") for word in ("-path", path, "-prune", "-o")]
    return set(host.run(["find", "/", "-xdev", *skipped, "-print"]).stdout.splitlines())


def test_nothing_is_left_of_an_agent_that_was_removed(fleet: Fleet) -> None:
    host = fleet.create("web", installed=False)
    host.start()
    before = paths(host)
    fleet.register(host)
    host.run(["sh", "-c", user_data(fleet.wheelhouse(), AGENT_CONFIG=fleet.site.config)])
    fleet.wait_for_poll(host)
    fleet.group()
    assert fleet.deploy(fleet.upload(service_revision(fleet.directory, "v1")))["status"] == "Succeeded"

    host.run("codedeploy-agent uninstall --purge")

    assert said(host) == "v1"  # what was deployed stays
    left = {path for path in paths(host) - before if "hello" not in path}
    assert left == set()
    assert before - paths(host) == set()
    assert not host.testinfra.service("codedeploy-agent").exists
    assert "codedeploy" not in host.run("ps -eo args 2>/dev/null || cat /proc/[0-9]*/cmdline", check=False).stdout
    assert "codedeploy" not in host.run("systemctl list-units --all --no-legend; systemctl list-unit-files").stdout
