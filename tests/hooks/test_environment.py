"""What a script finds in its environment, and what it must never find there."""

from __future__ import annotations

import os
import sys

import pytest

from agent.hooks.accounts import Account
from agent.hooks.environment import script_environment

GAMES = Account("games", 5, 60, (60,), "/usr/games", "/usr/sbin/nologin")

CREDENTIALS = [
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CREDENTIALS_FILE",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_CREDENTIAL_FILE",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "CODEDEPLOY_GITHUB_TOKEN",
]


def test_a_running_script_sees_no_credentials(revision, monkeypatch):
    for name in CREDENTIALS:
        monkeypatch.setenv(name, "hidden-value")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_HOST_IDENTIFIER", "arn:aws:iam::1:user/host")
    monkeypatch.setenv("OF_THE_HOST", "kept")
    revision.script("env")
    lines = revision.run("script.sh").lines()
    assert not [line for line in lines if "hidden-value" in line]
    assert {"AWS_REGION=eu-west-1", "AWS_HOST_IDENTIFIER=arn:aws:iam::1:user/host", "OF_THE_HOST=kept"} <= set(lines)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("http://user:hidden@proxy.example:3128", "http://proxy.example:3128"),
        ("user:hidden@proxy.example:3128", "proxy.example:3128"),
        ("http://user:hid/d@en@[::1]:3128/", "http://[::1]:3128/"),
        ("socks5h://hidden@proxy.example", "socks5h://proxy.example"),
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("", ""),
    ],
)
def test_a_running_script_sees_the_proxy_and_not_its_password(revision, monkeypatch, name, value, seen):
    monkeypatch.setenv(name, value)
    revision.script(f'echo "${name}"')
    assert revision.run("script.sh").lines() == [seen]


def test_a_running_script_sees_its_deployment(revision):
    revision.script("env")
    assert {
        "LIFECYCLE_EVENT=AfterInstall",
        "DEPLOYMENT_ID=d-TEST00001",
        "APPLICATION_NAME=App One",
        "DEPLOYMENT_GROUP_NAME=Group One",
        "DEPLOYMENT_GROUP_ID=group-1",
    } <= set(revision.run("script.sh").lines())


def test_variables_of_another_deployment_are_not_passed_on():
    inherited = {"BUNDLE_ETAG": "old", "DEPLOYMENT_ID": "d-OLD", "BUNDLE_PATH": "of a Ruby program"}
    found = script_environment(inherited, {"DEPLOYMENT_ID": "d-NEW"}, account=None)
    assert found == {"DEPLOYMENT_ID": "d-NEW", "BUNDLE_PATH": "of a Ruby program"}


@pytest.mark.parametrize("name", ["NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "CODEDEPLOY_AGENT_CONFIG_FILE"])
def test_what_is_addressed_to_the_agent_stays_with_it(name):
    assert script_environment({name: "1", "PATH": "/bin"}, {}, account=None) == {"PATH": "/bin"}


def test_the_virtual_environment_of_the_agent_is_left():
    programs = os.path.join(sys.prefix, "bin")
    inherited = {"VIRTUAL_ENV": sys.prefix, "VIRTUAL_ENV_PROMPT": "agent", "PATH": f"{programs}:/usr/bin:/bin"}
    assert script_environment(inherited, {}, account=None) == {"PATH": "/usr/bin:/bin"}


def test_the_virtual_environment_of_somebody_else_is_kept():
    inherited = {"VIRTUAL_ENV": "/srv/theirs", "PATH": "/srv/theirs/bin:/bin"}
    assert script_environment(inherited, {}, account=None) == inherited


def test_a_user_brings_home_name_and_shell():
    inherited = {"HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/bash", "LANG": "C.UTF-8"}
    found = script_environment(inherited, {}, account=GAMES)
    assert found == {
        "HOME": "/usr/games",
        "USER": "games",
        "LOGNAME": "games",
        "SHELL": "/usr/sbin/nologin",
        "LANG": "C.UTF-8",
    }


def test_the_allowlist_leaves_three_names_and_the_deployment():
    inherited = {"PATH": "/bin", "HOME": "/root", "USER": "root", "LANG": "C", "AWS_REGION": "eu-west-1"}
    found = script_environment(inherited, {"DEPLOYMENT_ID": "d-1"}, account=GAMES, only_allowlist=True)
    assert found == {"PATH": "/bin", "HOME": "/usr/games", "USER": "games", "DEPLOYMENT_ID": "d-1"}


def test_loader_variables_are_stripped_when_asked_for(revision, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/somewhere")
    revision.script('echo "${LD_LIBRARY_PATH-stripped}"')
    revision.run("script.sh")
    revision.run("script.sh", strip_loader_env=True)
    assert revision.recorder.lines() == ["/opt/somewhere", "stripped"]


def test_the_allowlist_reaches_a_running_script(revision, monkeypatch):
    monkeypatch.setenv("OF_THE_HOST", "1")
    revision.script('echo "${OF_THE_HOST-left out}" "$DEPLOYMENT_ID"')
    assert revision.run("script.sh", restrict_env_to_allowlist=True).lines() == ["left out d-TEST00001"]


def test_values_that_are_not_text_pass_through(revision):
    os.environb[b"NOT_TEXT"] = b"a\xffb"
    try:
        revision.script('printf "%s\\n" "$NOT_TEXT"')
        assert revision.run("script.sh").written() == b"a\xffb\n"
    finally:
        del os.environb[b"NOT_TEXT"]
