"""The examples of user data: each is clean shell, and gives a host the configuration that it promises."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from agent.config.file import load
from agent.traffic.policy import policy_of
from userdata_machine import SCRIPT, USERDATA, Machine

LARGEST = 16 * 1024
"""Bytes of user data that EC2 takes."""

EXAMPLES = USERDATA / "examples"
TRAFFIC = EXAMPLES / "traffic-control.sh"


@pytest.mark.needs_tool("shellcheck")
def test_the_shell_of_the_examples_is_clean() -> None:
    done = subprocess.run(["shellcheck", "--shell=sh", *EXAMPLES.glob("*.sh")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("given", "group", "place"),
    [
        ({}, "Shop", ("10.0.0.5:9999", "shop/host-7")),
        (
            {"TRAFFIC_GROUP": "Web shop: 2", "TRAFFIC_HAPROXY": "/run/haproxy/admin.sock", "TRAFFIC_SERVER": "rack"},
            "Web shop: 2",
            ("/run/haproxy/admin.sock", "shop/rack"),
        ),
    ],
    ids=["as it is", "filled in"],
)
def test_a_host_of_the_traffic_example_is_told_where_its_balancer_is(debian: Machine, given, group, place) -> None:
    debian.programs.add("hostname", "echo host-7")
    both = debian.directory / "user-data.sh"
    both.write_text(TRAFFIC.read_text() + SCRIPT.read_text())
    assert both.stat().st_size <= LARGEST
    done = debian.run(both, **given)
    assert done.returncode == 0, debian.log.read_text()

    config = debian.directory / "codedeployagent.yml"
    config.write_text(yaml.safe_load(debian.note.read_text())["texts"][0])
    loaded = load(str(config))
    policy = policy_of(loaded.settings.traffic_control, group)
    assert policy is not None
    (provider,) = policy.providers
    assert (provider["sockets"], provider["servers"]) == ([place[0]], [place[1]])
    assert policy.on_failure == "stay_out"


def test_the_other_balancer_of_the_traffic_example_is_a_provider_too(tmp_path) -> None:
    lines = [line.removeprefix("#") for line in TRAFFIC.read_text().splitlines()]
    begin = lines.index("     - type: elbv2")
    config = tmp_path / "codedeployagent.yml"
    config.write_text("\n".join([":traffic_control:", "  groups: [Shop]", "  providers:", *lines[begin : begin + 2]]))
    policy = policy_of(load(str(config)).settings.traffic_control, "Shop")
    assert policy is not None
    assert policy.providers[0]["target_groups"] == ["shop-blue"]
