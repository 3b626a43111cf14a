import json
import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest

from agent.cli import daemon
from agent.cli.daemon import ask_systemd, is_unit
from agent.daemon.pidfile import NAME, running_pid
from agent.store.commands import CommandStore, Progress, SavedOutcome, new_record
from agent.store.layout import Layout
from other_user import command_as
from stand_in_agent import running_agent
from waiting import until


class Host:
    """The command on a host of its own, and the directories of its agent."""

    def __init__(self, console, program):
        self.pid_dir = f"{console.top}/pid"
        self.log = f"{console.top}/log/codedeploy-agent.log"
        self.program = program("codedeploy-agent")
        self.config = console.config
        self.layout = Layout(console.root)
        console.configure(pid_dir=self.pid_dir, on_premises_config_file=f"{console.top}/none.yml")

    def command(self, verb, *arguments):
        return [self.program, verb, "--config-file", self.config, *arguments]

    def run(self, verb, *arguments, **options):
        command = self.command(verb, *arguments)
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)

    def take_command(self):
        """Put a command in hand, as the supervisor and its worker do."""
        fields = {"command_identifier": "hc-1", "host_identifier": "h", "execution_id": "e"}
        directory = CommandStore(self.layout).add(
            new_record({**fields, "command_name": "AfterInstall"}, now=time.time())
        )
        directory.save_progress(Progress("boot", deployment_id="d-1", group_id="g-1"), durably=False)
        return directory


@pytest.fixture
def host(console, program):
    return Host(console, program)


def test_a_host_without_a_running_agent(host):
    status = host.run("status")
    assert (status.returncode, status.stdout) == (3, "The AWS CodeDeploy agent is not running.\n")
    stop = host.run("stop")
    assert (stop.returncode, stop.stderr) == (0, "")
    assert "not running" in stop.stdout


def test_the_first_line_of_the_status_is_the_official_one(host):
    with running_agent(host.pid_dir) as agent:
        result = host.run("status")
    assert result.returncode == 0
    assert result.stdout.splitlines()[0] == f"The AWS CodeDeploy agent is running as PID {agent.pid}"


def test_the_status_tells_what_the_agent_does_and_what_problems_it(host):
    with running_agent(host.pid_dir) as agent, host.take_command().lock():
        store = CommandStore(host.layout)
        other = store.directory_of("hc-0")
        os.makedirs(other.path)
        payload = json.dumps({"message": "Script at \x1b[2Jx failed"})
        other.save_outcome(SavedOutcome("Failed", payload, time.time() - 90, deployment_id="d-0", group_id="g-1"))
        fields = {"pid": agent.pid, "started": time.time() - 3 * 3600, "host_identifier": "arn:host"}
        fields |= {"last_success": time.time() - 600, "problem": {"since": time.time() - 300, "text": "No such host."}}
        with open(f"{host.layout.state}/status.json", "w") as file:
            json.dump(fields, file)
        text = host.run("status").stdout
        found = json.loads(host.run("status", "--json").stdout)
    assert "In progress: AfterInstall of deployment d-1, for " in text
    assert "Host: arn:host\n" in text
    assert "(3 h 0 min ago)" in text
    assert "(10 min ago)" in text
    assert "): No such host.\n" in text
    assert "Last outcome: Failed, deployment d-0" in text
    assert "Script at ?[2Jx failed" in text
    assert "Not yet reported: 1\n" in text
    assert (found["running"], found["pid"], found["unreported"]) == (True, agent.pid, 1)
    assert found["in_progress"][0]["event"] == "AfterInstall"
    assert found["last_outcome"]["message"] == "Script at \x1b[2Jx failed"
    assert found["problem"]["text"] == "No such host."


@pytest.mark.parametrize(("message", "shown"), [("Succeeded: ", ""), ("Succeeded: 2 files", ": 2 files")])
def test_the_status_does_not_repeat_that_the_last_deployment_succeeded(host, message, shown):
    command = CommandStore(host.layout).directory_of("hc-0")
    os.makedirs(command.path)
    outcome = SavedOutcome("Succeeded", json.dumps({"message": message}), time.time(), deployment_id="d-0")
    command.save_outcome(outcome)
    (line,) = [line for line in host.run("status").stdout.splitlines() if line.startswith("Last outcome")]
    assert re.fullmatch(rf"Last outcome: Succeeded, deployment d-0, \d.* ago\){shown}", line)


def test_the_status_of_a_command_that_never_had_a_deployment_names_none(host):
    command = CommandStore(host.layout).directory_of("hc-0")
    os.makedirs(command.path)
    command.save_outcome(SavedOutcome("Failed", json.dumps({"message": "No such deployment."}), time.time()))
    (line,) = [line for line in host.run("status").stdout.splitlines() if line.startswith("Last outcome")]
    assert re.fullmatch(r"Last outcome: Failed, \d.*: No such deployment\.", line)


def test_the_status_tells_of_a_deployment_that_goes_on_without_an_agent(host):
    with host.take_command().lock():
        result = host.run("status")
    assert result.returncode == 3
    assert "In progress: AfterInstall of deployment d-1" in result.stdout


@pytest.mark.needs("root", "users")
def test_a_user_who_may_not_look_is_told_so(host):
    code = "from agent.cli.main import main; sys.exit(main(['status', '--config-file', sys.argv[1]]))"
    with open(host.config) as config, running_agent(host.pid_dir):
        place = f"/proc/self/fd/{config.fileno()}"
        result = subprocess.run(
            command_as(65534, 65534, code, place),
            capture_output=True,
            text=True,
            cwd=os.path.dirname(host.config),
            pass_fds=[config.fileno()],
        )
    assert (result.returncode, result.stdout) == (4, "")
    assert "cannot be told" in result.stderr
    assert "Permission denied" in result.stderr


def test_stop_ends_the_agent_and_returns_when_it_is_gone(host):
    with running_agent(host.pid_dir) as agent:
        result = host.run("stop")
        assert (result.returncode, result.stderr) == (0, "")
        assert agent.wait() == 0
    assert host.run("status").returncode == 3


def test_stop_does_not_signal_a_process_that_got_the_pid_of_an_agent(host):
    os.mkdir(host.pid_dir)
    with subprocess.Popen(["sleep", "3600"]) as stranger:
        try:
            with open(f"{host.pid_dir}/{NAME}", "w") as file:
                file.write(f"{stranger.pid}\n")
            assert host.run("stop").returncode == 0
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_stop_and_restart_refuse_during_a_deployment_and_name_it(host):
    with running_agent(host.pid_dir) as agent, host.take_command().lock():
        for verb in ("stop", "restart"):
            result = host.run(verb)
            assert (result.returncode, result.stdout) == (1, "")
            assert "AfterInstall of deployment d-1" in result.stderr
            assert f"codedeploy-agent {verb} --force" in result.stderr
        assert agent.poll() is None


def test_stop_can_be_had_during_a_deployment(host):
    with running_agent(host.pid_dir) as agent, host.take_command().lock():
        assert host.run("stop", "--force").returncode == 0
        assert agent.wait() == 0


def test_an_agent_that_does_not_end_is_not_said_to_be_stopped(tmp_path):
    with running_agent(tmp_path, "deaf") as agent:
        with pytest.raises(daemon.AgentError, match=f"PID {agent.pid}, was told to stop and is still there"):
            daemon.end_process(agent.pid, str(tmp_path), limit=0.1)
        assert running_pid(str(tmp_path)) == agent.pid


@pytest.mark.parametrize(
    ("groups", "unit"),
    [
        ("0::/system.slice/codedeploy-agent.service\n", True),
        ("12:pids:/system.slice/codedeploy-agent.service\n1:name=systemd:/x\n", True),
        ("0::/user.slice/user-0.slice/session-1.scope\n", False),
        ("0::/system.slice/ssh.service\n", False),
        ("0::/system.slice/codedeploy-agent.service/child\n", False),
    ],
)
def test_an_agent_that_systemd_would_start_again_is_known(tmp_path, groups, unit):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(groups)
    assert is_unit(7, proc=str(tmp_path)) is unit
    assert not is_unit(8, proc=str(tmp_path))


def test_systemd_is_asked_for_its_own_unit(tmp_path, capfd):
    assert ask_systemd("stop", command=("sh", "-c", 'echo "$0 $1"; exit 5')) == 5
    assert capfd.readouterr().out == "stop codedeploy-agent.service\n"
    with pytest.raises(daemon.AgentError, match="cannot be run"):
        ask_systemd("stop", command=(str(tmp_path / "systemctl"),))


def test_start_beside_a_running_agent_is_refused(host):
    with running_agent(host.pid_dir) as agent:
        result = host.run("start")
    assert result.returncode == 1
    assert f"running as PID {agent.pid}" in result.stderr


def test_restart_replaces_the_agent_by_one_in_the_foreground(host):
    with running_agent(host.pid_dir) as agent, running(host.command("restart")) as restarted:
        assert agent.wait() == 0
        until(lambda: os.path.exists(host.log), "the agent's log")  # it hears signals before it logs
        assert running_pid(host.pid_dir) == restarted.pid
        restarted.send_signal(signal.SIGTERM)
        assert restarted.wait() == 0
    assert running_pid(host.pid_dir) is None


@contextmanager
def running(command):
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()
