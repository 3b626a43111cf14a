"""Where the command service is asked for, in every partition, and what is refused before anything is sent."""

from __future__ import annotations

import json
import os

import botocore
import pytest

from agent.network.partitions import DOMAINS, domain_of
from agent.service.endpoint import EndpointOptions, endpoint_for
from agent.service.errors import ServiceConfigError

with open(os.path.join(os.path.dirname(botocore.__file__), "data", "partitions.json"), encoding="utf-8") as _file:
    PARTITIONS = json.load(_file)["partitions"]

REGIONS = [
    (region, partition["outputs"]["dnsSuffix"])
    for partition in PARTITIONS
    for region in partition["regions"]
    if not region.endswith("-global")
]


@pytest.mark.parametrize(("region", "domain"), REGIONS)
def test_a_host_finds_the_service_in_every_region_of_every_partition(region, domain):
    assert domain_of(region) == domain
    assert endpoint_for(EndpointOptions(region)).url == f"https://codedeploy-commands.{region}.{domain}/"


def test_no_other_domain_than_those_of_partitions_is_known():
    assert {partition["outputs"]["dnsSuffix"] for partition in PARTITIONS} == DOMAINS


def test_a_request_is_addressed_and_signed_for_the_command_service():
    endpoint = endpoint_for(EndpointOptions("eu-central-1"))
    assert endpoint.signing_name == "codedeploy-commands"
    assert endpoint.target_prefix == "CodeDeployCommandService_v20141006"
    assert endpoint.region == "eu-central-1"


def test_the_secure_service_has_names_of_its_own():
    assert endpoint_for(EndpointOptions("eu-central-1", secure=True)) == (
        "https://codedeploy-commands-secure.eu-central-1.amazonaws.com/",
        "codedeploy-commands-secure",
        "CodeDeployCommandService",
        "eu-central-1",
    )


def test_the_domain_of_instance_metadata_wins():
    found = endpoint_for(EndpointOptions("us-east-1", domain="amazonaws.com.cn"))
    assert found.url == "https://codedeploy-commands.us-east-1.amazonaws.com.cn/"


@pytest.mark.parametrize(
    "region", ["us-east-1", "us-east-2", "us-west-1", "us-west-2", "us-gov-west-1", "us-gov-east-1"]
)
def test_fips_is_honoured_where_it_exists(region):
    assert endpoint_for(EndpointOptions(region, fips=True)).url == (
        f"https://codedeploy-commands-fips.{region}.amazonaws.com/"
    )
    assert "-secure-fips." in endpoint_for(EndpointOptions(region, fips=True, secure=True)).url


@pytest.mark.parametrize("region", ["eu-central-1", "ca-central-1", "cn-north-1"])
def test_fips_is_refused_where_it_does_not_exist_and_not_silently_dropped(region):
    with pytest.raises(ServiceConfigError, match="no FIPS endpoint in " + region) as caught:
        endpoint_for(EndpointOptions(region, fips=True))
    assert "use_fips_mode" in caught.value.remedy


@pytest.mark.parametrize("url", ["https://vpce-1.example", "https://vpce-1.example:8443/path/"])
def test_an_override_is_used_as_it_is(url):
    endpoint = endpoint_for(EndpointOptions("eu-central-1", override=url, fips=True, secure=True, domain="x.y"))
    assert endpoint.url == url.rstrip("/") + "/"
    assert endpoint.signing_name == "codedeploy-commands-secure"


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:80", "127.8.9.1"])
def test_a_service_on_this_host_may_be_plain_http(host):
    assert endpoint_for(EndpointOptions("eu-central-1", override=f"http://{host}")).url == f"http://{host}/"


@pytest.mark.parametrize("host", ["service.example", "10.0.0.1", "localhost.example", "169.254.169.254"])
def test_plain_http_elsewhere_is_refused(host):
    with pytest.raises(ServiceConfigError, match="plain http to another host") as caught:
        endpoint_for(EndpointOptions("eu-central-1", override=f"http://{host}"))
    assert "Use https" in caught.value.remedy


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host",
        "host",
        "https://",
        "https://user:secret@host",
        "https://host?secret",
        "https://host#secret",
        "https://host:99999",
        "https://[secret",
    ],
)
def test_an_override_that_is_no_url_is_refused_without_repeating_a_password(url):
    with pytest.raises(ServiceConfigError, match="deploy_control_endpoint") as caught:
        endpoint_for(EndpointOptions("eu-central-1", override=url))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "region", ["", "EU", "eu", "eu-central-1.evil.example/", "eu central 1", "eu-central-1\n", "-a"]
)
def test_a_region_cannot_lead_to_another_host(region):
    with pytest.raises(ServiceConfigError, match="region"):
        endpoint_for(EndpointOptions(region))


@pytest.mark.parametrize("domain", ["evil.example/x?", "a b", "a", ".example", "example.", "x.y\n", "é.y", "x.y"])
def test_a_domain_of_instance_metadata_cannot_lead_to_another_host(domain):
    with pytest.raises(ServiceConfigError, match="domain"):
        endpoint_for(EndpointOptions("eu-central-1", domain=domain))
