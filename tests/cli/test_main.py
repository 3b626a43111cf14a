import os
import shlex
import subprocess
import sys

import pytest

from agent import __version__
from agent.cli.main import _COMMANDS
from agent.config import table


@pytest.fixture
def agent(program):
    def run(*arguments, **options):
        command = [program("codedeploy-agent"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)

    return run


def test_without_a_command_it_says_what_there_is(agent):
    result = agent()
    assert (result.returncode, result.stderr) == (0, "")
    for command in ("start", "stop", "restart", "status", "validate", "deploy-local", "settings", "sandbox", "update"):
        assert command in result.stdout


@pytest.mark.parametrize("option", ["--version", "-v"])
def test_the_version_is_no_failure(agent, option):
    result = agent(option)
    assert (result.returncode, result.stdout) == (0, f"codedeploy-agent {__version__}\n")


@pytest.mark.parametrize("arguments", [["bogus"], ["--bogus"], ["--bogus", "status"], ["help", "bogus"], ["--config"]])
def test_an_unknown_command_or_option_ends_as_with_the_official_agent(agent, arguments):
    result = agent(*arguments)
    assert (result.returncode, result.stdout) == (64, "")
    assert next(word for word in arguments if word not in ("help", "status")) in result.stderr
    assert "usage: codedeploy-agent [" in result.stderr


NEEDED = {
    "register": ("--instance-name", "web-1", "--create-iam-user"),
    "traffic": ("status",),
    "pause": ("--reason", "x"),
}


@pytest.mark.parametrize("command", [name for name in _COMMANDS if name not in ("help", "deploy-local")])
def test_an_unknown_option_of_a_command_ends_with_64_and_its_own_usage(agent, command):
    result = agent(command, *NEEDED.get(command, ()), "--bogus")
    assert (result.returncode, result.stdout) == (64, "")
    assert result.stderr.startswith(f"usage: codedeploy-agent {command} [-h]")
    assert result.stderr.endswith(f"codedeploy-agent {command}: unrecognized arguments: --bogus\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("register", "required: --instance-name"),
        ("register --instance-name web-1", "--create-iam-user"),
        ("register --instance-name i-1 --create-iam-user", "instance name"),
        ("register --instance-name web-1 --create-iam-user --tag x", "tag"),
        ("register --instance-name web-1 --iam-user-arn arn:aws:iam::123456789012:user/w", "--access-key-id"),
        ("traffic", "required: action"),
        ("traffic bogus", "invalid choice: 'bogus'"),
        ("traffic status nobody --config-file {config}", 'deployment group "nobody"'),
        ("traffic block --reason", "--reason: expected one argument"),
        ("sandbox --port x", "--port"),
        ("sandbox --region Europe", "'Europe' is not the name of a region"),
        ("sandbox --region=", "--region: '' is not the name of a region"),
        ("sandbox --directory=", "--directory: the value is empty"),
        ("sandbox --listen=", "--listen: the value is empty"),
        ("help start stop", "unrecognized arguments: stop"),
        ("help --bogus", "unrecognized arguments: --bogus"),
        ("--bogus help", "unrecognized arguments: --bogus"),
        ("install --root {top} --source s3://bucket/key --region eu-west-1a", "its region is eu-west-1"),
        ("install --root {top} --source=", "--source: the value is empty"),
        ("install --root=", "--root: the value is empty"),
        ("register --instance-name web-1 --create-iam-user --region Europe", "--region: 'Europe' is not"),
        ("install --root {top} --start --no-start", "not allowed with"),
        ("install --root {top} --source w.tar.gz", "--source needs --sha256"),
        ("install --root {top}", "--version must name"),
        ("validate -A", "expected one argument"),
        ("validate --format yaml", "invalid choice: 'yaml'"),
        ("deregister --file {top}/none --instance-name", "expected one argument"),
    ],
)
def test_a_wrong_command_line_ends_with_64_whatever_is_wrong_with_it(agent, console, arguments, reason):
    result = agent(*arguments.format(top=console.top, config=console.config).split())
    assert (result.returncode, result.stdout) == (64, "")
    assert reason in result.stderr


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("statsu", "status"),
        ("Status", "status"),
        ("help regsiter", "register"),
        ("traffic blok", "block"),
        ("validate --format jsn", "json"),
        ("status --jsno", "--json"),
        ("stop --froce", "--force"),
        ("--confg-file=/etc/x status", "--config-file"),
    ],
)
def test_a_misspelt_command_or_option_is_told_what_was_meant(agent, arguments, meant):
    result = agent(*arguments.split())
    assert (result.returncode, result.stdout) == (64, "")
    assert result.stderr.endswith(f". Did you mean {meant!r}?\n")


def test_the_module_is_the_same_command():
    result = subprocess.run([sys.executable, "-m", "agent", "--version"], capture_output=True, text=True, check=False)
    assert result.stdout == f"codedeploy-agent {__version__}\n"


def test_deploy_local_is_the_local_command(agent, console):
    console.revision()
    result = agent("deploy-local", "-c", console.config, "-l", console.bundle)
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "AppSpec file valid. Local deployment successful")
    assert "usage: codedeploy-agent deploy-local" in agent("deploy-local", "--help").stdout


def test_validate_can_be_reached(agent, console):
    console.revision()
    assert agent("validate", console.bundle).returncode == 0
    assert agent("validate", f"{console.top}/nowhere").returncode == 2


@pytest.mark.parametrize("option", ["--config-file", "--config_file"])
def test_settings_shows_the_values_of_a_file(agent, console, option):
    console.configure(max_revisions=2, quux=1)
    result = agent("settings", option, console.config)
    assert result.returncode == 0
    assert "* max_revisions: 2\n" in result.stdout
    assert console.config in result.stdout
    assert "quux" in result.stderr


def test_settings_names_every_problem_of_a_file(agent, console):
    console.configure(max_revisions=0, verbose="perhaps")
    result = agent("settings", "--config-file", console.config)
    assert (result.returncode, result.stdout) == (1, "")
    assert "max_revisions is 0" in result.stderr
    assert "perhaps" in result.stderr


def test_settings_does_not_show_the_password_of_the_proxy(agent, console):
    console.configure(proxy_uri="http://joe:hunter2@proxy.example:3128")
    result = agent("settings", "--config-file", console.config)
    assert "* proxy_uri: http://joe:***@proxy.example:3128\n" in result.stdout
    assert "hunter2" not in result.stdout + result.stderr


def test_settings_prints_the_table_of_the_documentation(agent):
    assert agent("settings", "--markdown").stdout == table.markdown()


@pytest.mark.parametrize("command", ["status", "stop", "validate", "deploy-local"])
def test_help_shows_the_help_of_a_command(agent, command):
    assert agent("help", command).stdout == agent(command, "--help").stdout != ""
    assert agent("help").stdout == agent().stdout


@pytest.mark.parametrize("name", ["--config-file", "--config_file"])
@pytest.mark.parametrize(
    "form", ["{name} {path} {verb}", "{name}={path} {verb}", "{verb} {name} {path}", "{verb} {name}={path}"]
)
@pytest.mark.parametrize("verb", ["status", "settings"])
def test_the_configuration_is_named_before_or_after_the_verb(agent, console, name, form, verb):
    console.configure(max_revisions=0)
    result = agent(*form.format(name=name, path=console.config, verb=verb).split(" "))
    assert (result.returncode, result.stdout) == ({"status": 4, "settings": 1}[verb], "")
    assert "max_revisions is 0" in result.stderr


def test_the_configuration_after_the_verb_comes_first(agent, console):
    assert agent("--config-file", "/nowhere", "settings", "--config-file", console.config).returncode == 0


def test_a_local_deployment_takes_the_configuration_before_the_verb_too(agent, console):
    console.revision()
    result = agent("--config-file", console.config, "deploy-local", "-l", console.bundle)
    assert (result.returncode, console.root in result.stdout) == (0, True)


def test_update_prints_the_line_that_upgrades_and_changes_nothing(agent):
    result = agent("update")
    assert (result.returncode, result.stdout) == (1, "")
    assert "does not update itself" in result.stderr
    assert sys.prefix in result.stderr
    assert f"\n    {sys.executable} -m pip install --upgrade .\n" in result.stderr


@pytest.mark.parametrize("below", ["", "other root"])
def test_an_installed_agent_prints_the_line_that_takes_what_build_wheelhouse_printed(tmp_path, below):
    root = tmp_path / below if below else tmp_path
    version = root / "opt/codedeploy-agent/versions/9.1-0"
    code = "import os, sys\nfrom agent.cli.main import main\nsys.prefix = sys.argv[1]\nsys.exit(main(['update']))"
    version.mkdir(parents=True)
    result = subprocess.run([sys.executable, "-c", code, version], capture_output=True, text=True, check=False)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("    ")]
    words = shlex.split(line.removeprefix("    sudo "))
    assert words == [
        *("codedeploy-agent", "install", "--root", str(root)),
        *("--source", "$AGENT_SOURCE", "--sha256", "$AGENT_SHA256"),
    ]


def test_a_failure_of_the_system_is_told_without_a_traceback(agent, console):
    console.configure(pid_dir=f"{console.top}/pid", root_dir=f"{console.top}/root")
    os.makedirs(f"{console.top}/root/agent-state")
    with open(f"{console.top}/root/agent-state/commands", "w"):
        pass
    result = agent("status", "--config-file", console.config)
    assert result.returncode == 4
    assert "Not a directory" in result.stderr
    assert "Traceback" not in result.stderr
