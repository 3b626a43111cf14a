from __future__ import annotations

import json
import os

import botocore
import pytest

from agent.bundle.s3_address import Address, domain_of, partition_of


@pytest.mark.parametrize(
    ("bucket", "address", "url"),
    [
        ("bucket", Address("eu-west-1"), "https://bucket.s3.eu-west-1.amazonaws.com/a/b.tar"),
        ("my.bucket", Address("eu-west-1"), "https://s3.eu-west-1.amazonaws.com/my.bucket/a/b.tar"),
        ("Legacy_Name", Address("us-east-1"), "https://s3.us-east-1.amazonaws.com/Legacy_Name/a/b.tar"),
        ("bucket", Address("cn-north-1"), "https://bucket.s3.cn-north-1.amazonaws.com.cn/a/b.tar"),
        ("bucket", Address("eu-west-1", domain="example.org"), "https://bucket.s3.eu-west-1.example.org/a/b.tar"),
        ("bucket", Address("us-east-1", fips=True), "https://bucket.s3-fips.us-east-1.amazonaws.com/a/b.tar"),
        ("bucket", Address("x", endpoint="http://127.0.0.1:9000/"), "http://127.0.0.1:9000/bucket/a/b.tar"),
        ("bucket", Address("x", endpoint="https://minio.example/s3"), "https://minio.example/s3/bucket/a/b.tar"),
        ("../x", Address("us-east-1"), "https://s3.us-east-1.amazonaws.com/..%2Fx/a/b.tar"),
    ],
)
def test_a_bucket_is_asked_where_it_can_be_reached(bucket, address, url):
    assert address.url(bucket, "a/b.tar", None) == url


def test_keys_and_versions_are_written_as_they_are_signed():
    url = Address("r", endpoint="http://h").url("b", "a b+c/ü?#%/../~x", "v=1&x")
    assert url == "http://h/b/a%20b%2Bc/%C3%BC%3F%23%25/../~x?versionId=v%3D1%26x"


@pytest.mark.parametrize(
    ("address", "location", "allowed"),
    [
        (Address("eu-west-1"), "https://b.s3-eu-west-1.amazonaws.com/k", True),
        (Address("eu-west-1"), "http://b.s3-eu-west-1.amazonaws.com/k", False),
        (Address("eu-west-1"), "https://b.amazonaws.com.evil.example/k", False),
        (Address("eu-west-1"), "https://evilamazonaws.com/k", False),
        (Address("eu-west-1"), "https://u:p@b.s3.amazonaws.com/k", False),
        (Address("eu-west-1"), "/k", False),
        (Address("x", endpoint="http://10.0.0.1:9000"), "http://10.0.0.1:9001/k", True),
        (Address("x", endpoint="http://10.0.0.1:9000"), "http://10.0.0.2:9000/k", False),
    ],
)
def test_a_redirect_may_not_lead_elsewhere(address, location, allowed):
    assert address.may_lead_to(location) is allowed


def test_domains_and_partitions_are_those_that_botocore_knows():
    path = os.path.join(os.path.dirname(botocore.__file__), "data", "partitions.json")
    with open(path, encoding="utf-8") as file:
        partitions = json.load(file)["partitions"]
    for partition in partitions:
        for region in partition["regions"]:
            if not region.endswith("-global"):
                assert partition_of(region) == partition["id"]
                assert domain_of(region) == partition["outputs"]["dnsSuffix"]
