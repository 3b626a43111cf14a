"""Calls of the Elastic Load Balancing services, when what answers them does wrong."""

from __future__ import annotations

import pytest

from agent.network.credentials import Credentials
from agent.traffic import aws
from agent.traffic.errors import TrafficError
from agent.traffic.provider import BalancerAccess
from proxy_server import running_proxy
from wire_server import Answer, Authority, running_server

ACCESS = BalancerAccess(lambda: Credentials("AKID", "secret"), region="eu-west-1")
NONE = b"""<DescribeTargetGroupsResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">
<DescribeTargetGroupsResult><TargetGroups/></DescribeTargetGroupsResult></DescribeTargetGroupsResponse>"""


def ask(url, access=ACCESS):
    return aws.BalancerApi("elbv2", {"endpoint": url}, access).pages("describe_target_groups", "TargetGroups")


@pytest.mark.parametrize("at_once", [0, 20, 200])
def test_a_service_that_drips_its_answer_does_not_hold_a_deployment_for_ever(monkeypatch, at_once):
    monkeypatch.setattr(aws, "READ_LIMIT", 0.3)
    with running_server() as server:
        server.otherwise = Answer(headers={"Content-Type": "text/xml"}, body=NONE + b" " * 400, drip=at_once)
        with pytest.raises(TrafficError, match="sent no whole answer within") as caught:
            ask(server.url)
    assert caught.value.passing


def test_the_services_are_reached_through_the_proxy_and_by_the_certificates_of_the_settings(tmp_path):
    authority = Authority(tmp_path)
    with running_server(tls=authority.server_context("elb.test")) as server:
        server.otherwise = Answer(headers={"Content-Type": "text/xml"}, body=NONE)
        with running_proxy({"elb.test": server.port}) as proxy:
            assert ask("https://elb.test", ACCESS._replace(proxy=proxy.url, ca_bundle=authority.path)) == []
            assert proxy.asked == ["CONNECT elb.test:443"]
