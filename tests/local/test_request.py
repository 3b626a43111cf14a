import os
import re

import pytest

from agent.deployment.spec import BundleType, GitHubRevision, LocalRevision, S3Revision
from agent.errors import AgentError, AppSpecMissingError, SpecificationError, UsageError
from agent.local.request import DEFAULT_EVENTS, LocalRequest, check_request, new_deployment_id, order_events
from revisions import write_revision


def checked(location, *, directory="/", **fields):
    return check_request(LocalRequest(str(location), **fields), directory=str(directory))


def test_ids_have_the_official_form_and_differ():
    ids = {new_deployment_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch(r"d-[A-Z0-9]{9}-local", name) for name in ids)


def test_without_events_all_run_in_the_official_order():
    assert order_events("") == DEFAULT_EVENTS
    assert ",".join(DEFAULT_EVENTS) == (
        "BeforeBlockTraffic,AfterBlockTraffic,ApplicationStop,DownloadBundle,BeforeInstall,Install,AfterInstall,"
        "ApplicationStart,ValidateService,BeforeAllowTraffic,AfterAllowTraffic"
    )


@pytest.mark.parametrize(
    ("given", "run"),
    [
        ("AfterInstall", "DownloadBundle Install AfterInstall"),
        ("AfterInstall,", "DownloadBundle Install AfterInstall"),
        ("DownloadBundle", "DownloadBundle Install"),
        ("ApplicationStop,DownloadBundle", "ApplicationStop DownloadBundle Install"),
        ("ApplicationStop,Install", "DownloadBundle ApplicationStop Install"),
        ("DownloadBundle,ApplicationStop,Install", "DownloadBundle ApplicationStop Install"),
        (
            "ApplicationStop,DownloadBundle,BeforeInstall,Install",
            "ApplicationStop DownloadBundle BeforeInstall Install",
        ),
        ("AfterInstall,AfterInstall", "DownloadBundle Install AfterInstall AfterInstall"),
        ("Custom,AfterInstall", "DownloadBundle Install Custom AfterInstall"),
    ],
)
def test_what_the_revision_needs_comes_first_where_it_is_not_named(given, run):
    assert order_events(given) == tuple(run.split())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("ApplicationStart,DownloadBundle", "ApplicationStart before DownloadBundle"),
        ("BeforeInstall,DownloadBundle,Install", "BeforeInstall before DownloadBundle"),
        ("Custom,DownloadBundle", "Custom before DownloadBundle"),
        ("Install,DownloadBundle", "Install before DownloadBundle"),
        ("DownloadBundle,AfterInstall,Install", "AfterInstall before Install"),
        ("AfterInstall, ApplicationStart", "without spaces"),
        ("AfterInstall,,ApplicationStart", "not the name"),
        ("afterInstall", "not the name"),
        ("../x", "not the name"),
    ],
)
def test_an_order_or_name_that_cannot_be_is_refused(given, says):
    with pytest.raises(UsageError) as caught:
        order_events(given)
    assert says in str(caught.value)


def test_a_directory_is_made_absolute_and_names_the_application(tmp_path):
    write_revision(f"{tmp_path}/bundle", {})
    spec = checked("./bundle/", directory=tmp_path).spec
    assert spec.revision == LocalRevision(f"{tmp_path}/bundle", BundleType.DIRECTORY)
    assert (spec.application_name, spec.deployment_group_name) == ("./bundle/", "LocalFleet")
    assert spec.deployment_group_id == "default-local-deployment-group"
    assert spec.file_exists_behavior == "DISALLOW"


def test_options_become_the_specification(tmp_path):
    write_revision(f"{tmp_path}/bundle", {})
    deployment = checked(
        tmp_path / "bundle",
        group="g",
        group_name="G",
        application_name="A",
        file_exists_behavior="retain",
        events="Custom",
    )
    spec = deployment.spec
    assert (spec.deployment_group_id, spec.deployment_group_name, spec.application_name) == ("g", "G", "A")
    assert spec.file_exists_behavior == "RETAIN"
    assert deployment.custom_events == {"Custom"}
    assert spec.all_possible_lifecycle_events == (*DEFAULT_EVENTS, "Custom")


def test_a_token_does_not_show_in_the_specification(tmp_path):
    write_revision(f"{tmp_path}/bundle", {})
    spec = checked(tmp_path / "bundle", github_token="secret-token").spec
    assert spec.github_access_token == "secret-token"
    assert "secret-token" not in repr(spec)


def test_a_path_with_spaces_or_odd_bytes_is_a_path(tmp_path):
    directory = os.fsdecode(os.fsencode(str(tmp_path)) + b"/a b|\xff")
    write_revision(directory, {})
    assert checked(directory).spec.revision.location == directory


@pytest.mark.parametrize(
    ("location", "kind", "says"),
    [
        ("bundle", "rar", "not a type"),
        ("bundle", "tar", "is a directory"),
        ("bundle.tar", "directory", "is a file"),
        ("none", "directory", "does not exist"),
        ("file:///tmp", "directory", "this kind of URL"),
        ("ftp://x/y.zip", "zip", "this kind of URL"),
        ("http://github.com/a/b", "zip", "plain http"),
        ("https://example.com/x.zip", "zip", "not a repository"),
        ("https://github.com/", "zip", "not a repository"),
        ("https://github.com/owner", "zip", "not a repository"),
        ("s3://bucket", "zip", "names no object"),
        ("s3://bucket/", "zip", "names no object"),
        ("s3:///key", "zip", "names no object"),
        ("s3://bucket/key", "directory", "archive"),
    ],
)
def test_a_location_that_cannot_be_deployed_says_why_and_what_could(tmp_path, location, kind, says):
    write_revision(f"{tmp_path}/bundle", {})
    (tmp_path / "bundle.tar").write_text("")
    with pytest.raises(UsageError) as caught:
        checked(location, directory=tmp_path, bundle_type=kind)
    assert says in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("location", "kind", "revision"),
    [
        ("s3://b/k/x.zip", "zip", S3Revision("b", "k/x.zip", BundleType.ZIP)),
        ("s3://b/k?versionId=v&etag=e", "tgz", S3Revision("b", "k", BundleType.TGZ, version="v", etag="e")),
        ("s3://b/k?versionId=a%2Bb", "tgz", S3Revision("b", "k", BundleType.TGZ, version="a+b")),
        ("s3://b/k?versionId=a+b", "tgz", S3Revision("b", "k", BundleType.TGZ, version="a+b")),
        ("https://github.com/a/r", "directory", GitHubRevision("a", "r", "HEAD", BundleType.ZIP)),
        ("https://github.com/a/r.git", "tar", GitHubRevision("a", "r", "HEAD", BundleType.TAR)),
        ("https://github.com/a/r/", "zip", GitHubRevision("a", "r", "HEAD", BundleType.ZIP)),
        ("https://github.com/a/r/commit/abc", "tgz", GitHubRevision("a", "r", "abc", BundleType.TAR)),
        ("https://github.com/a/r/tree/feature/x", "zip", GitHubRevision("a", "r", "feature/x", BundleType.ZIP)),
        ("https://api.github.com/repos/a/r/tarball/abc", "zip", GitHubRevision("a", "r", "abc", BundleType.TAR)),
        ("https://api.github.com/repos/a/r/zipball/abc", "tar", GitHubRevision("a", "r", "abc", BundleType.ZIP)),
    ],
)
def test_locations_in_s3_and_on_github_are_understood(location, kind, revision):
    assert checked(location, bundle_type=kind).spec.revision == revision


@pytest.mark.parametrize("name", ["appspec.yml", "other.yml"])
def test_a_directory_without_an_appspec_is_refused_with_the_names_looked_for(tmp_path, name):
    with pytest.raises(AppSpecMissingError, match=name) as caught:
        checked(tmp_path, appspec_filename=name)
    assert "--bundle-location" in caught.value.remedy


def test_an_archive_is_opened_only_later(tmp_path):
    (tmp_path / "b.tgz").write_text("")
    assert checked(tmp_path / "b.tgz", bundle_type="tgz").spec.revision.bundle_type is BundleType.TGZ


@pytest.mark.parametrize("fields", [{"appspec_filename": "../x.yml"}, {"group": "a/b"}, {"group": ""}])
def test_names_that_lead_elsewhere_are_refused(tmp_path, fields):
    write_revision(f"{tmp_path}/bundle", {})
    with pytest.raises(SpecificationError):
        checked(tmp_path / "bundle", **fields)


def test_the_type_is_checked_before_the_location_and_that_before_the_events(tmp_path):
    def message(**fields):
        with pytest.raises(AgentError) as caught:
            checked("none", directory=tmp_path, **fields)
        return caught.value.message

    assert "rar" in message(bundle_type="rar", events="x")
    assert "none" in message(events="x")


def test_a_misspelt_appspec_name_is_not_replaced_by_another_file(tmp_path):
    (tmp_path / "appspec.yml").write_text("version: 0.0\nos: linux\n")
    request = LocalRequest(location=str(tmp_path), bundle_type="directory", appspec_filename="appspec-prod.yml")
    with pytest.raises(AppSpecMissingError, match=r"no AppSpec file appspec-prod\.yml, but appspec\.yml"):
        check_request(request, directory="/")


def test_an_empty_location_is_not_taken_for_the_current_directory(tmp_path):
    write_revision(str(tmp_path), {})
    with pytest.raises(UsageError, match="location is empty"):
        checked("", directory=tmp_path)
