import subprocess
import sys

import pytest

from agent import __version__
from agent.config import table


@pytest.fixture
def agent(program):
    def run(*arguments, **options):
        command = [program("codedeploy-agent"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)

    return run


def test_without_a_command_it_says_what_there_is(agent):
    result = agent()
    assert (result.returncode, result.stderr) == (0, "")
    for command in ("validate", "deploy-local", "settings"):
        assert command in result.stdout


def test_the_version_is_no_failure(agent):
    result = agent("--version")
    assert (result.returncode, result.stdout) == (0, f"codedeploy-agent {__version__}\n")


@pytest.mark.parametrize("arguments", [["bogus"], ["--bogus"]])
def test_an_unknown_command_or_option_ends_as_with_the_official_agent(agent, arguments):
    result = agent(*arguments)
    assert (result.returncode, result.stdout) == (64, "")
    assert "bogus" in result.stderr
    assert "usage: codedeploy-agent" in result.stderr


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


def test_settings_prints_the_table_of_the_documentation(agent):
    assert agent("settings", "--markdown").stdout == table.markdown()
