from __future__ import annotations

import logging

import pytest

from agent.config.settings import Settings
from agent.deployment.spec import BundleType, GitHubRevision, S3Revision
from agent.network.credentials import Credentials
from agent.network.http import HttpClient
from agent.runtime.remote import FALLBACK_REGION, fetch_options, local_fetch_options

S3 = S3Revision("b", "k", BundleType.TAR)


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """An environment without anything of AWS's, and settings of a host that is nowhere."""
    import os

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return Settings(on_premises_config_file=str(tmp_path / "onpremises.yml"))


def test_the_settings_choose_the_endpoints():
    settings = Settings(
        s3_endpoint_override="https://s3.example", github_endpoint_override="https://git.example", use_fips_mode=True
    )
    credentials = Credentials("A", "S")
    options = fetch_options(settings, HttpClient(), credentials=lambda: credentials, region="eu-west-1")
    assert (options.s3_endpoint, options.github_endpoint) == ("https://s3.example", "https://git.example")
    assert (options.region, options.fips) == ("eu-west-1", True)
    assert options.credentials() is credentials


def test_without_settings_the_usual_endpoints_are_asked():
    options = fetch_options(Settings(), HttpClient(), credentials=None, region="eu-west-1")
    assert (options.s3_endpoint, options.github_endpoint, options.fips) == (None, "https://api.github.com", False)


def test_a_repository_is_fetched_without_looking_for_credentials(bare, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "one-that-is-nowhere")
    assert local_fetch_options(bare, GitHubRevision("a", "r", "c", BundleType.TAR)).credentials is None


def test_where_no_region_is_known_the_one_is_asked_that_knows_all_buckets(bare, caplog):
    caplog.set_level(logging.INFO)
    options = local_fetch_options(bare, S3)
    assert (options.region, options.credentials, options.s3_endpoint) == (FALLBACK_REGION, None, None)
    assert "AWS_REGION" in caplog.text


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({"AWS_ENDPOINT_URL": "http://a"}, "http://a"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"}, "http://b"),
        ({"AWS_ENDPOINT_URL_S3": "http://b", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, None),
    ],
)
def test_the_environment_names_endpoints_as_for_the_aws_tools(bare, monkeypatch, variables, endpoint):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert local_fetch_options(bare, S3).s3_endpoint == endpoint


def test_temporary_credentials_of_the_environment_come_with_their_token(bare, monkeypatch):
    for name, value in (("ACCESS_KEY_ID", "A"), ("SECRET_ACCESS_KEY", "S"), ("SESSION_TOKEN", "T")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    options = local_fetch_options(bare, S3)
    assert options.credentials() == Credentials("A", "S", "T")
    assert options.region == "eu-central-1"
