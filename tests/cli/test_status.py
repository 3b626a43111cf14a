"""``codedeploy-agent status`` for people, for programs and for monitoring."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time

import pytest

from agent.cli.status_text import lines, progress_line
from agent.daemon.status import InProgress
from agent.store.layout import Layout
from stand_in_agent import running_agent

FIELDS = {
    "version": "0.1.0",
    "state": "polling",
    "host_identifier": "arn:host",
    "region": "eu-central-1",
    "identity_source": "instance metadata",
    "endpoint": "https://codedeploy-commands.eu-central-1.amazonaws.com/",
    "proxy": "through the proxy proxy:3128 (proxy_uri)",
    "certificates": "trusting the system's certificates",
    "round_trip": 0.25,
    "wait_between_runs": 30,
}

# label=value[unit];[warn];[crit];[min];[max], as the guidelines for monitoring plugins have it
PERFORMANCE = re.compile(r"[a-z_]+=-?\d+(\.\d+)?(s|B)?(;[\d.:-]*){0,4}")


class Host:
    def __init__(self, console, program):
        self.pid_dir = f"{console.top}/pid"
        self.state = Layout(console.root).state
        self.command = [program("codedeploy-agent"), "status", "--config-file", console.config]
        self.console = console
        console.configure(pid_dir=self.pid_dir, on_premises_config_file=f"{console.top}/none.yml")

    def run(self, *arguments):
        return subprocess.run([*self.command, *arguments], capture_output=True, text=True, check=False)

    def write(self, pid, **changes):
        now = time.time()
        fields = FIELDS | {"pid": pid, "started": now - 60, "written": now, "last_success": now - 4} | changes
        os.makedirs(self.state, exist_ok=True)
        with open(f"{self.state}/status.json.new", "w") as file:
            json.dump(fields, file)
        os.rename(f"{self.state}/status.json.new", f"{self.state}/status.json")


@pytest.fixture
def host(console, program):
    return Host(console, program)


def test_the_status_names_where_everything_comes_from(host):
    with running_agent(host.pid_dir) as agent:
        host.write(agent.pid, credentials={"source": "the instance's role", "expires": time.time() + 3600})
        text = host.run().stdout
        found = json.loads(host.run("--json").stdout)
    assert "Host: arn:host in eu-central-1, by instance metadata\n" in text
    assert "amazonaws.com/, through the proxy proxy:3128 (proxy_uri), trusting the system's certificates\n" in text
    assert "Credentials: the instance's role, valid until 20" in text
    assert re.search(r"Last successful poll: .*\((4|5|6) s ago\), answered in 0.25 s\n", text)
    assert re.search(r"Processes: 1, with [\d.]+ MiB of memory and \d+\.\d s of processor time\n", text)
    assert re.search(r"Disk of .*/root: .*B free of .*B, of which it takes .*B\n", text)
    assert (found["state"], found["region"], found["findings"]) == ("running", "eu-central-1", [])


def test_a_check_of_an_agent_that_is_well_is_one_line_with_performance_data(host):
    with running_agent(host.pid_dir) as agent:
        host.write(agent.pid)
        result = host.run("--check")
    assert (result.returncode, result.stderr, result.stdout.count("\n")) == (0, "", 1)
    text, _, data = result.stdout.rstrip().partition(" | ")
    assert re.fullmatch(rf"CODEDEPLOY OK - running as PID {agent.pid}, last poll \d s ago, nothing in progress", text)
    assert all(PERFORMANCE.fullmatch(word) for word in data.split()), data
    assert {"last_poll", "round_trip", "memory", "cpu", "disk_free"} <= {
        word.partition("=")[0] for word in data.split()
    }


def test_a_check_tells_warning_from_critical(host):
    problem = {"since": time.time() - 5, "text": "No | such\nhost.", "key": "poll"}
    with running_agent(host.pid_dir) as agent:
        host.write(agent.pid, problems=[problem])
        warning = host.run("--check")
        host.write(agent.pid, problems=[problem | {"since": time.time() - 3600}])
        critical = host.run("--check")
    assert warning.returncode == 1
    assert re.match(r"CODEDEPLOY WARNING - For \d+ s: No / such host \| in_progress=0 ", warning.stdout)
    assert (critical.returncode, critical.stdout[:21]) == (2, "CODEDEPLOY CRITICAL -")


def test_a_check_of_a_host_without_an_agent_is_critical(host):
    result = host.run("--check")
    assert result.returncode == 2
    assert result.stdout.startswith("CODEDEPLOY CRITICAL - The agent is not running | ")


def test_a_check_that_cannot_tell_is_unknown_on_the_standard_output(host):
    host.console.configure(max_revisions=0)
    result = host.run("--check")
    assert (result.returncode, result.stderr) == (3, "")
    assert result.stdout.startswith("CODEDEPLOY UNKNOWN - It cannot be told")
    assert host.run().returncode == 4


def test_an_agent_that_was_killed_has_the_exit_status_of_the_lsb(host):
    with running_agent(host.pid_dir) as agent:
        agent.kill()
        agent.wait()
        result = host.run()
    first = "The AWS CodeDeploy agent is not running: it ended without removing its pid file."
    assert (result.returncode, result.stdout.splitlines()[0]) == (1, first)


def test_watching_without_a_terminal_prints_whatever_changes_until_it_is_stopped(host):
    with subprocess.Popen([*host.command, "--watch", "--json"], stdout=subprocess.PIPE, text=True) as watch:
        first = json.loads(watch.stdout.readline())
        with running_agent(host.pid_dir) as agent:
            second = json.loads(watch.stdout.readline())
            watch.send_signal(signal.SIGINT)
            assert watch.wait() == 0
    assert (first["state"], second["state"], second["pid"]) == ("stopped", "running", agent.pid)


def test_watching_on_a_terminal_redraws_the_screen(host):
    leader, terminal = os.openpty()
    with subprocess.Popen([*host.command, "--watch"], stdout=terminal, env=os.environ | {"COLUMNS": "80"}) as watch:
        os.close(terminal)
        text = b""
        while text.count(b"\x1b[H") < 2:
            text += os.read(leader, 4096)
        watch.send_signal(signal.SIGINT)
        assert watch.wait() == 0
    os.close(leader)
    assert b"\x1b[HThe AWS CodeDeploy agent is not running.\x1b[K\r\n\x1b[J" in text


def document(**changes):
    names = ("version", "host_identifier", "region", "identity_source", "endpoint", "credentials", "started", "paused")
    found = dict.fromkeys((*names, "last_success", "round_trip", "last_outcome", "resources", "disk"))
    found |= {"running": True, "state": "running", "pid": 7, "problems": [], "in_progress": [], "out_of_service": []}
    return found | {"unreported": 0, "not_seen": [], "skips": {}} | changes


OUTCOME = {"status": "Closed", "deployment": "d-1", "group": "g", "event": "Install", "message": "", "ended": 0.0}


@pytest.mark.parametrize(
    ("changes", "state", "shown"),
    [
        (
            {"closed_as": "Succeeded"},
            "running",
            r"Last outcome: Succeeded, Install of .* d-1, .*: there was nothing to run",
        ),
        ({"closed_as": "Failed"}, "running", r"Last outcome: Failed, Install of .*: the service had ended it .*"),
        ({"status": "Succeeded", "message": "Succeeded: "}, "running", r"Last outcome: Succeeded, Install .* ago\)"),
        (
            {"status": "Failed", "message": "x"},
            "official",
            r"Last outcome of this agent, not of the official one: Failed, .*",
        ),
    ],
)
def test_the_last_outcome_says_what_is_true(changes, state, shown):
    found = document(last_outcome=OUTCOME | changes, state=state)
    assert re.fullmatch(shown, lines(found, [], 60.0)[1])


def test_a_running_script_is_shown_with_its_time_and_its_limit():
    row = InProgress("d-1", "g", "AfterInstall", "hc", 100.0, "Shop", "scripts/x.sh", 110.0, 300.0)
    shown = "AfterInstall of deployment d-1 (Shop), for 60 s; script scripts/x.sh for 50 s of at most 5 min"
    assert progress_line(row, 160.0) == shown


def test_a_pause_is_shown_with_its_reason_its_end_and_who_asked_for_it():
    paused = {"since": 0.0, "until": 3600.0, "by": "alice", "reason": "the database moves"}
    (_, line) = lines(document(paused=paused), [], 60.0)
    assert re.fullmatch(r"Paused since .*:00 until .*:00 by alice: the database moves", line)


def test_a_skip_that_waits_is_shown():
    (_, line) = lines(document(skips={"g-1": ["ApplicationStop"]}), [], 60.0)
    assert line == "The next deployment of group g-1 skips ApplicationStop of the earlier revision, once."


def test_what_a_user_may_not_see_is_said():
    (_, line) = lines(document(not_seen=["the commands in progress (/x: Permission denied)"]), [], 60.0)
    assert line.startswith("Not seen, for want of permission: the commands in progress (/x: Permission denied).")
