"""Scripts of accounts of each kind, on a host with PAM and systemd-logind, beside ``su`` of the official agents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent_hosts import SITE, Fleet
from booted_host import BootedHost
from host_lab import NEEDED

pytestmark = NEEDED

# By the account's name. The last two are made unusual below.
SHELLS = {
    "with-bash": "/bin/bash",
    "with-dash": "/bin/dash",
    "with-fish": "/usr/bin/fish",
    "with-tcsh": "/usr/bin/tcsh",
    "with-nologin": "/usr/sbin/nologin",
    "homeless": "/bin/bash",
    "expired": "/bin/bash",
}
DEPLOYED_AS = [name for name in SHELLS if name != "expired"]
SETTINGS = {
    "/etc/security/limits.d/application.conf": "* soft nofile 1234\n* hard nofile 2345\nroot soft nofile 3456\n",
    "/etc/environment": "JAVA_HOME=/opt/java\n",
    "/etc/default/locale": "LANG=C.UTF-8\n",
}
PROBE = """\
#!/bin/sh
{
    env | grep -v -e ^_= -e ^XDG_SESSION_ID= | sort
    id; pwd; umask; ulimit -Sn; ulimit -Hn
    sed 's/session-c*[0-9]*[.]scope/session.scope/' /proc/self/cgroup
    systemctl --user is-active basic.target
} >"$1/$(id -un)" 2>&1
"""


def host_with_accounts(fleet: Fleet) -> BootedHost:
    host = fleet.join("web", "debian12-accounts")
    for path, text in SETTINGS.items():
        host.put(path, text)
    for name, shell in SHELLS.items():
        host.run(["useradd", "--create-home", "--shell", shell, name])
    host.run("rm -r /home/homeless && chage --expiredate 0 expired")
    host.run("mkdir -m 1777 /srv/by-agent /srv/by-su")
    fleet.group()
    return host


def revision(directory: Path, hooks: str, scripts: dict[str, str]) -> Path:
    (directory / "scripts").mkdir(parents=True)
    (directory / "index.html").write_text("hello")
    (directory / "appspec.yml").write_text(
        f"version: 0.0\nos: linux\nfiles:\n  - source: index.html\n    destination: {SITE}\nhooks:\n{hooks}"
    )
    for name, text in scripts.items():
        (directory / "scripts" / name).write_text(text)
        (directory / "scripts" / name).chmod(0o755)
    return directory


def test_scripts_of_each_kind_of_account_find_what_they_found_under_su(fleet: Fleet) -> None:
    host = host_with_accounts(fleet)
    names = ["root", *DEPLOYED_AS]
    forced = {"with-nologin": "-s /bin/sh "}
    by_su = "".join(f"su {forced.get(name, '')}{name} -c '/srv/probe /srv/by-su' || exit 1\n" for name in names)
    by_agent = "".join(f"    - location: scripts/probe\n      runas: {name}\n" for name in names)
    source = revision(
        fleet.directory / "probes",
        f"  BeforeInstall:\n    - location: scripts/by-su\n  AfterInstall:\n{by_agent}",
        {"by-su": f"#!/bin/sh\n{by_su}", "probe": "#!/bin/sh\nexec /srv/probe /srv/by-agent\n"},
    )
    host.put("/srv/probe", PROBE, mode=0o755)
    deployment = fleet.deploy(fleet.upload(source))
    assert deployment["status"] == "Succeeded", fleet.failure(deployment["deploymentId"], host)

    for name in names:
        found = host.run(["cat", f"/srv/by-agent/{name}"]).stdout
        expected = host.run(["cat", f"/srv/by-su/{name}"]).stdout
        assert without_the_event(found) == without_the_event(expected)
        for line in ("JAVA_HOME=/opt/java", "LANG=C.UTF-8", "active", f"DEPLOYMENT_ID={deployment['deploymentId']}"):
            assert line in found.splitlines()
        assert "/user.slice/" in found
        assert ("3456" if name == "root" else "1234") in found.splitlines()


def without_the_event(text: str) -> list[str]:
    # The two ran in different events, and bash says much of itself where it exports all that it knows.
    differing = re.compile("LIFECYCLE_EVENT=|SHLVL=|BASH_EXECUTION_STRING=|PPID=|EPOCH")
    return [line for line in text.splitlines() if not differing.match(line)]


@pytest.mark.soak_only
def test_a_script_without_an_interpreter_is_read_by_the_shell_of_its_account(fleet: Fleet) -> None:
    host = host_with_accounts(fleet)
    hooks = "".join(f"    - location: scripts/{name}\n      runas: {name}\n" for name in DEPLOYED_AS)
    text = "[[ a == a ]] && echo bash >/srv/by-agent/$(id -un)\n"
    scripts = {"with-bash": text, "homeless": text}
    scripts |= {name: "\n#!/bin/bash\necho $0 >/srv/by-agent/`id -un`\n" for name in DEPLOYED_AS if name not in scripts}
    source = revision(fleet.directory / "texts", f"  AfterInstall:\n{hooks}", scripts)
    deployment = fleet.deploy(fleet.upload(source))
    assert deployment["status"] == "Succeeded", fleet.failure(deployment["deploymentId"], host)
    found = {name: host.run(["cat", f"/srv/by-agent/{name}"]).stdout.strip() for name in DEPLOYED_AS}
    assert (found.pop("with-bash"), found.pop("homeless")) == ("bash", "bash")
    assert all(text.endswith(f"scripts/{name}") for name, text in found.items()), found


@pytest.mark.soak_only
def test_an_account_that_has_expired_fails_its_script_with_the_words_of_su(fleet: Fleet) -> None:
    host = host_with_accounts(fleet)
    hooks = "  AfterInstall:\n    - location: scripts/a\n      runas: expired\n"
    source = revision(fleet.directory / "expired", hooks, {"a": "#!/bin/sh\ntouch /srv/ran\n"})
    failed = fleet.failure(fleet.deploy(fleet.upload(source))["deploymentId"], host)
    assert "as user expired failed with exit code 1" in failed["diagnostics"]["message"]
    assert "expired" in failed["diagnostics"]["logTail"]
    assert host.run("test -e /srv/ran", check=False).status == 1


@pytest.mark.soak_only
def test_a_time_limit_ends_what_is_in_the_session_of_an_account(fleet: Fleet) -> None:
    host = host_with_accounts(fleet)
    hooks = "  AfterInstall:\n    - location: scripts/a\n      runas: with-bash\n      timeout: 5\n"
    text = "#!/bin/sh\nsetsid sleep 4321 &\nnohup sleep 4321 &\nsleep 4321\n"
    source = revision(fleet.directory / "slow", hooks, {"a": text})
    failed = fleet.failure(fleet.deploy(fleet.upload(source))["deploymentId"], host)
    assert failed["diagnostics"]["errorCode"] == "ScriptTimedOut"
    assert "Session terminated" not in failed["diagnostics"]["logTail"]
    assert host.run("ps -u with-bash -o args=", check=False).stdout.count("sleep 4321") == 0
