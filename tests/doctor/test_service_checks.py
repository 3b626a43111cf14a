"""A service that is stopped, masked or edited, and another agent, are found."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import pytest

from agent import __version__
from agent.doctor.finding import Finding, Result
from examined_host import ExaminedHost, examined_within
from stand_in_agent import running_agent

WELL = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "FragmentPath": "/etc/systemd/system/codedeploy-agent.service",
    "DropInPaths": "",
    "NeedDaemonReload": "no",
    "WatchdogUSec": "3min",
    "NRestarts": "0",
}
IN_PROCESSES_OF_ITS_OWN = ("unshare", "--mount", "--pid", "--fork", "--mount-proc")


def test_an_agent_that_is_stopped_is_found(host: ExaminedHost) -> None:
    host.unit = WELL
    host.passes("unit-active", "active (running)")
    host.unit = {**WELL, "ActiveState": "inactive", "SubState": "dead"}
    host.fails("unit-active", "inactive (dead)", "systemctl start codedeploy-agent")
    host.unit = {**WELL, "NRestarts": "7"}
    host.warns("unit-active", "7 times", "journalctl")


def test_an_agent_without_systemd_is_found_by_its_lock(host: ExaminedHost) -> None:
    host.fails("unit-active", "No agent is running", "codedeploy-agent start")
    with running_agent(host.directory / "pid") as process:
        host.passes("unit-active", f"PID {process.pid}")
    host.skips("watchdog", "No systemd runs here")


def test_a_masked_unit_is_found(host: ExaminedHost) -> None:
    host.unit = WELL
    host.passes("unit-masked")
    host.unit = {**WELL, "LoadState": "masked", "UnitFileState": "masked", "ActiveState": "inactive"}
    host.fails("unit-masked", "nothing can start it", "systemctl unmask")


def test_a_unit_that_does_not_start_with_the_host_is_found(host: ExaminedHost) -> None:
    host.unit = WELL
    host.passes("unit-enabled")
    host.unit = {**WELL, "UnitFileState": "disabled"}
    host.warns("unit-enabled", "(disabled)", "systemctl enable codedeploy-agent")
    host.unit = {**WELL, "LoadState": "not-found"}
    host.skips("unit-enabled", "no installed agent")


def test_an_edited_unit_is_found(host: ExaminedHost, tmp_path: Path) -> None:
    unit = tmp_path / "codedeploy-agent.service"
    unit.write_text("[Unit]\n")
    files = {str(unit): hashlib.sha256(unit.read_bytes()).hexdigest(), "/x/10-restart-steps.conf": "0"}
    manifest = {"format": 1, "name": "0.1.0", "previous": None, "files": files, "links": {}}
    host.put("/opt/codedeploy-agent/installed.json", json.dumps(manifest))
    host.unit = {**WELL, "FragmentPath": str(unit), "DropInPaths": "/x/10-restart-steps.conf"}
    host.passes("unit-edited", "as it was installed")
    host.unit = {**host.unit, "DropInPaths": "/x/10-restart-steps.conf /x/override.conf"}
    host.warns("unit-edited", "change the service: /x/override.conf.", "meant")
    unit.write_text("[Unit]\nDescription=mine\n")
    host.warns("unit-edited", f"{unit} was edited", "drop-in")
    host.unit = {**host.unit, "NeedDaemonReload": "yes"}
    host.warns("unit-edited", "since systemd read it", "systemctl daemon-reload")
    host.unit = {**WELL, "FragmentPath": "/nowhere"}
    host.passes("unit-edited")
    host.put("/etc/systemd/system/codedeploy-agent.service.d/new.conf")
    host.warns("unit-edited", "since systemd read it", "systemctl daemon-reload")


def test_a_watchdog_that_is_off_or_too_short_is_found(host: ExaminedHost) -> None:
    host.unit = WELL
    host.passes("watchdog", "180 s")
    host.unit = {**WELL, "WatchdogUSec": "0"}
    host.warns("watchdog", "is off", "WatchdogSec=180")
    host.unit = {**WELL, "WatchdogUSec": "1min 20s"}
    host.fails("watchdog", "after 80 s, and a poll may take 80 s", "http_read_timeout")


def test_an_agent_that_gets_no_answer_is_found(host: ExaminedHost) -> None:
    host.skips("polling", "No agent is running")
    host.state.mkdir(parents=True)
    with running_agent(host.directory / "pid") as process:
        status = {"pid": process.pid, "version": __version__, "started": time.time()}

        def write(**more: object) -> None:
            (host.state / "status.json").write_text(json.dumps({**status, **more}))

        write()
        host.passes("polling", "first poll lasts")
        write(started=time.time() - 600)
        host.fails("polling", "No poll has succeeded since", "the checks of the network")
        write(last_success=time.time())
        host.passes("polling", "The last good poll")
        host.passes("version", __version__)
        write(last_success=time.time() - 7200)
        host.fails("polling", "7200 s ago", "the checks of the network")
        write(problem={"since": 1.0, "text": "No connection to x:443."}, version="0.0.9")
        host.fails("polling", "No connection to x:443", "goes on alone")
        host.warns("version", "has version 0.0.9", "systemctl restart")


@pytest.mark.needs("root", "mount")
def test_a_second_agent_is_found(tmp_path: Path) -> None:
    program = tmp_path / "codedeploy-agent"
    program.write_text("import time\ntime.sleep(1000)\n")
    other = tmp_path / "other.yml"
    other.write_text("root_dir: /srv/other\n")

    def found_beside(*words: str) -> Finding:
        # Until the child has become another program, its command line is the shell's. The shell is process 1.
        wait = 'while [ "$(readlink /proc/$!/exe)" = "$(readlink /proc/$$/exe)" ]; do sleep 0.05; done'
        script = f"{sys.executable} {program} start {' '.join(words)} >/dev/null 2>&1 & {wait}" if words else "true"
        found = examined_within(script, tmp_path / "host", "second-agent", unshare=IN_PROCESSES_OF_ITS_OWN)
        return found["second-agent"]

    assert found_beside().result == Result.PASS
    found = found_beside(f"--config-file={other}")
    assert (found.result, "identity of its own" in found.remedy) == (Result.WARN, True), found
    found = found_beside("--verbose")
    assert (found.result, "Stop all but one" in found.remedy) == (Result.FAIL, True), found
    assert "(codedeploy-agent start --verbose)" in found.text


def test_an_official_agent_beside_ours_is_found(host: ExaminedHost) -> None:
    host.passes("official-agent", "No official agent")
    host.put("/etc/init.d/codedeploy-agent", "#!/bin/sh\n")
    host.warns("official-agent", "/etc/init.d/codedeploy-agent", "--take-over")


def test_what_installs_the_official_agent_by_itself_is_found(host: ExaminedHost) -> None:
    host.passes("updaters")
    host.put("/etc/cron.d/codedeploy-agent-update", "0 3 * * * root /opt/codedeploy-agent/bin/install auto\n")
    (host.files / "var/lib/amazon/ssm/packages/AWSCodeDeployAgent").mkdir(parents=True)
    host.warns("updaters", "/etc/cron.d/codedeploy-agent-update, /var/lib/amazon", "Systems Manager")


@pytest.mark.needs("root", "mount")
def test_a_host_with_selinux_and_without_its_tools_is_found(tmp_path: Path, host: ExaminedHost) -> None:
    if not os.path.exists("/sys/fs/selinux/enforce"):
        host.passes("selinux-tools", "is off")
    script = "mount -t tmpfs none /sys/fs; mkdir /sys/fs/selinux; touch /sys/fs/selinux/enforce"
    hidden = f"{script}; mount -t tmpfs none /usr/sbin; export PATH=/bin"
    found = examined_within(hidden, tmp_path / "host", "selinux-tools")["selinux-tools"]
    assert (found.result, "policycoreutils" in found.remedy) == (Result.WARN, True), found


@pytest.mark.needs("root")
@pytest.mark.needs_tool("su")
def test_a_host_whose_pam_has_no_service_for_su_is_found(host: ExaminedHost) -> None:
    host.warns("login-sessions", "/etc/pam.d/su", "runas_session: none")
    host.put("/etc/pam.d/su", "")
    host.passes("login-sessions", "session from su")
    host.write_config(runas_session="none")
    host.passes("login-sessions", "no login session")
