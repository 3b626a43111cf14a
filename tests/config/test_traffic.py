from __future__ import annotations

import json
import re

import pytest

from agent.config import table
from agent.config.parse import parse
from agent.config.settings import Settings, SettingsError
from agent.traffic.policy import Policy, policy_of

FULL = """\
:traffic_control:
  groups:
    Web:
    API:
      minimum_healthy: 0
      on_failure: put_back
      providers:
        - type: haproxy
          sockets: [/run/haproxy/admin.sock, "127.0.0.1:9999", "[::1]:9999"]
          servers: [api/host-1]
  providers:
    - type: elbv2
      target_groups: all
    - type: elb
      load_balancers: [classic]
      instance_id: i-0123
    - type: command
      block: [/usr/local/bin/out, --quick]
      allow: [/usr/local/bin/in]
  drain_seconds: 60
"""


def read(text):
    return parse(text.encode(), filename="agent.yml")[0].traffic_control


def problems(text):
    with pytest.raises(SettingsError) as caught:
        read(text)
    return [re.sub(r"^agent\.yml:(\d+):\d+", r"\1", str(problem)) for problem in caught.value.problems]


def test_every_group_gets_what_is_said_for_all_and_what_is_said_for_itself():
    found = read(FULL)
    web, api = policy_of(found, "Web"), policy_of(found, "API")
    assert [provider["type"] for provider in web.providers] == ["elbv2", "elb", "command"]
    assert (web.minimum_healthy, web.on_failure, web.drain_seconds) == (1, "stay_out", 60)
    assert [provider["type"] for provider in api.providers] == ["haproxy"]
    assert (api.minimum_healthy, api.on_failure, api.drain_seconds) == (0, "put_back", 60)
    assert policy_of(found, "Another") is None
    assert policy_of(None, "Web") is None


def test_the_defaults_are_those_of_the_policy():
    found = read("traffic_control: {groups: [Web], providers: [{type: elbv2, target_groups: [a]}]}")
    assert policy_of(found, "Web") == Policy(
        [{"type": "elbv2", "target_groups": ["a"], "target_ids": None, "region": None, "endpoint": None}]
    )
    assert policy_of(found, "Web").abandoned_after_seconds == 4500


def test_workers_get_it_as_it_is():
    settings = Settings(traffic_control=read(FULL))
    assert json.loads(json.dumps(settings._asdict()))["traffic_control"] == settings.traffic_control


def test_it_is_shown_by_its_groups():
    assert "* traffic_control: for Web, API\n" in table.text(Settings(traffic_control=read(FULL)))


def test_an_empty_one_means_none():
    assert read("traffic_control:\n") is None


def test_all_problems_are_told_at_once_with_their_lines():
    found = problems(
        """\
traffic_control:
  groups: [Web, Web]
  on_failure: shrug
  minimum_helthy: 2
  time_limit_seconds: soon
  providers:
    - type: elbv2
    - type: nginx
    - type: haproxy
      sockets: [relative.sock]
      servers: [host-1]
      load_balancers: [x]
    - type: command
      block: out
      allow: [relative]
verbose: maybe
"""
    )
    assert [text.split(":")[0] for text in sorted(found, key=lambda text: int(text.split(":")[0]))] == [
        "2", "3", "4", "5", "7", "8", "10", "11", "12", "14", "15", "16",
    ]  # fmt: skip
    assert any("Did you mean 'minimum_healthy'?" in text for text in found)
    assert any("load_balancers is not a key of haproxy" in text for text in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("traffic_control: 7", "is not a mapping"),
        ("traffic_control: [1]", "is not a mapping"),
        ("traffic_control: {groups: []}", "names none"),
        ("traffic_control: {groups: [Web]}", "The group 'Web' has no providers"),
        ("traffic_control: {providers: [{type: elbv2, target_groups: all}]}", "has no groups"),
        ("traffic_control: {groups: [7], providers: [{type: elbv2, target_groups: all}]}", "not the name"),
        ("traffic_control: {groups: {Web: 3}, providers: [{type: elbv2, target_groups: all}]}", "is not a mapping"),
        ("traffic_control: {groups: [Web], providers: []}", "names none"),
        ("traffic_control: {groups: [Web], providers: [x]}", "is not a mapping"),
        ("traffic_control: {groups: [Web], providers: [{type: elbv2, target_groups: []}]}", "target_groups is"),
        ("traffic_control: {groups: [Web], block_before: ValidateService}", "block_before is 'ValidateService'"),
        (
            "traffic_control: &a {groups: [Web], providers: [*a]}",
            "The alias *a stands inside the value that it repeats",
        ),
        (
            "traffic_control: {groups: [Web], provider: []}",
            "traffic_control has the unknown key 'provider'. Did you mean 'providers'?",
        ),
        (
            "traffic_control: {groups: [Web], groups: [API]}",
            "'groups' stands here a second time. The first is in line 1",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_what_was_expected(text, expected):
    assert any(expected in problem for problem in problems(text))


def test_more_than_a_worker_can_be_handed_is_refused():
    names = ", ".join(f"name-of-a-target-group-{number}" for number in range(1300))
    text = f"traffic_control: {{groups: [Web], providers: [{{type: elbv2, target_groups: [{names}]}}]}}"
    assert any("too long" in problem for problem in problems(text))
