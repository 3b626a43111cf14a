"""What the service asks for, and what becomes of a specification that is not as it should be."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.deployment.document import parse_specification
from agent.deployment.spec import BundleType, DeploymentSpecification, GitHubRevision, LocalRevision, S3Revision
from agent.errors import SpecificationError

S3 = {"Bucket": "releases", "Key": "web/app.zip", "BundleType": "zip"}
GITHUB = {"Account": "example", "Repository": "web", "CommitId": "0a1b2c3"}
LOCAL = {"Location": "/srv/web", "BundleType": "directory"}
LEAST = {
    "DeploymentId": "d-7XK2Q9B4T",
    "DeploymentGroupId": "e2c1",
    "DeploymentGroupName": "fleet",
    "ApplicationName": "web",
    "Revision": {"RevisionType": "S3", "S3Revision": S3},
}
GONE = object()


def parsed(**changes: object) -> DeploymentSpecification:
    document = {key: value for key, value in (LEAST | changes).items() if value is not GONE}
    return parse_specification(json.dumps(document).encode())


def refusal(**changes: object) -> str:
    with pytest.raises(SpecificationError) as caught:
        parsed(**changes)
    assert caught.value.remedy
    return caught.value.message


def revision(kind: object, **objects: object) -> dict[str, object]:
    return {"Revision": {"RevisionType": kind, **objects}}


def test_the_least_that_the_service_sends_gets_the_official_defaults():
    assert parsed() == DeploymentSpecification(
        deployment_id="d-7XK2Q9B4T",
        deployment_group_id="e2c1",
        deployment_group_name="fleet",
        application_name="web",
        revision=S3Revision("releases", "web/app.zip", BundleType.ZIP),
        deployment_creator="user",
        deployment_type="IN_PLACE",
        appspec_filename="appspec.yml",
        file_exists_behavior="DISALLOW",
        all_possible_lifecycle_events=None,
        github_access_token=None,
        reuse_archive_from=None,
    )


def test_everything_that_the_service_can_send_arrives():
    found = parsed(
        DeploymentCreator="codeDeployRollback",
        DeploymentType="BLUE_GREEN",
        AppSpecFilename="deploy/appspec.yaml",
        AgentActionOverrides={"AgentOverrides": {"FileExistsBehavior": "overwrite"}},
        AllPossibleLifecycleEvents=["ApplicationStop", "Smoke"],
        GitHubAccessToken="gho_secret",
        ReuseArchiveFromDeploymentId="d-OLD000000",
        SomethingNew={"of": "later"},
    )
    assert found.deployment_creator == "codeDeployRollback"
    assert found.deployment_type == "BLUE_GREEN"
    assert found.appspec_filename == "deploy/appspec.yaml"
    assert found.file_exists_behavior == "OVERWRITE"
    assert found.all_possible_lifecycle_events == ("ApplicationStop", "Smoke")
    assert found.github_access_token == "gho_secret"
    assert found.reuse_archive_from == "d-OLD000000"


def test_an_empty_list_of_events_is_none():
    assert parsed(AllPossibleLifecycleEvents=[]).all_possible_lifecycle_events is None


@pytest.mark.parametrize("nothing", [None, ""])
def test_null_and_empty_mean_the_default(nothing):
    optional = ["DeploymentCreator", "DeploymentType", "AppSpecFilename", "GitHubAccessToken"]
    overrides = {"AgentActionOverrides": {"AgentOverrides": {"FileExistsBehavior": nothing}}}
    changes = dict.fromkeys([*optional, "ReuseArchiveFromDeploymentId"], nothing) | overrides
    assert parsed(**changes, AllPossibleLifecycleEvents=None) == parsed()


@pytest.mark.parametrize("overrides", [None, {}, {"AgentOverrides": None}, {"AgentOverrides": {}}])
def test_overrides_that_override_nothing_mean_the_default(overrides):
    assert parsed(AgentActionOverrides=overrides).file_exists_behavior == "DISALLOW"


@pytest.mark.parametrize(
    "identifier",
    [
        "arn:aws:codedeploy:eu-west-1:123456789012:deployment/d-7XK2Q9B4T",
        "arn:aws-cn:codedeploy:cn-north-1:123456789012:deployment:web/fleet/d-7XK2Q9B4T",
    ],
)
def test_a_deployment_named_by_its_arn_has_its_plain_id(identifier):
    assert parsed(DeploymentId=identifier).deployment_id == "d-7XK2Q9B4T"


# Revisions.


def test_a_revision_in_s3_keeps_its_version_and_etag():
    found = parsed(**revision("S3", S3Revision=S3 | {"BundleType": "tgz", "Version": "v9", "ETag": '"ab12"'})).revision
    assert found == S3Revision("releases", "web/app.zip", BundleType.TGZ, version="v9", etag='"ab12"')


def test_an_empty_version_and_etag_are_none():
    found = parsed(**revision("S3", S3Revision=S3 | {"Version": "", "ETag": None})).revision
    assert found == S3Revision("releases", "web/app.zip", BundleType.ZIP)


def test_a_revision_on_github_is_a_tar_unless_it_says_otherwise():
    assert parsed(**revision("GitHub", GitHubRevision=GITHUB)).revision == GitHubRevision(
        "example", "web", "0a1b2c3", BundleType.TAR
    )
    zipped = parsed(**revision("GitHub", GitHubRevision=GITHUB | {"BundleType": "zip"})).revision
    assert zipped == GitHubRevision("example", "web", "0a1b2c3", BundleType.ZIP)


def test_how_github_was_to_be_asked_does_not_matter():
    inner = GITHUB | {"Anonymous": False, "OAuthToken": 5}
    assert parsed(**revision("GitHub", GitHubRevision=inner)) == parsed(**revision("GitHub", GitHubRevision=GITHUB))


@pytest.mark.parametrize("kind", ["Local File", "Local Directory"])
@pytest.mark.parametrize("bundle_type", ["tar", "tgz", "zip", "directory"])
def test_a_revision_on_this_host_may_come_over_the_wire(kind, bundle_type):
    found = parsed(**revision(kind, LocalRevision=LOCAL | {"BundleType": bundle_type})).revision
    assert found == LocalRevision("/srv/web", BundleType(bundle_type))


def test_revisions_of_other_types_beside_the_one_are_ignored():
    assert parsed(**revision("S3", S3Revision=S3, GitHubRevision=5, LocalRevision={})) == parsed()


# What is wrong is named.


@pytest.mark.parametrize("key", ["DeploymentId", "DeploymentGroupId", "DeploymentGroupName", "ApplicationName"])
@pytest.mark.parametrize("value", [GONE, None, ""])
def test_what_is_required_and_missing_is_named(key, value):
    assert refusal(**{key: value}).endswith(f": {key} is missing or empty.")


@pytest.mark.parametrize("value", [GONE, None])
def test_a_missing_revision_is_named_once(value):
    assert refusal(Revision=value).endswith(": Revision is missing.")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"Revision": {}}, "Revision.RevisionType is missing or empty."),
        (revision(""), "Revision.RevisionType is missing or empty."),
        (revision("s3", S3Revision=S3), '"s3" and none of S3, GitHub, Local File, Local Directory.'),
        (revision("S4\n"), '"S4?" and none of S3, GitHub, Local File, Local Directory.'),
        (revision("S3"), ": Revision.S3Revision is missing."),
        (revision("GitHub", S3Revision=S3), ": Revision.GitHubRevision is missing."),
        (revision("Local File"), ": Revision.LocalRevision is missing."),
        (revision("S3", S3Revision=S3 | {"Bucket": ""}), ": Revision.S3Revision.Bucket is missing or empty."),
        (revision("S3", S3Revision=S3 | {"Key": None}), ": Revision.S3Revision.Key is missing or empty."),
        (revision("S3", S3Revision=S3 | {"BundleType": None}), "S3Revision.BundleType is missing or empty."),
        (revision("S3", S3Revision=S3 | {"BundleType": "directory"}), '"directory" and none of tar, tgz, zip.'),
        (revision("GitHub", GitHubRevision=GITHUB | {"BundleType": "rar"}), '"rar" and none of tar, tgz, zip.'),
        (revision("GitHub", GitHubRevision=GITHUB | {"CommitId": ""}), "GitHubRevision.CommitId is missing or empty."),
        (revision("Local File", LocalRevision=LOCAL | {"Location": "web"}), '"web" and not an absolute path.'),
        (revision("Local File", LocalRevision=LOCAL | {"BundleType": "x"}), "none of tar, tgz, zip, directory."),
    ],
)
def test_a_revision_that_cannot_be_fetched_is_named(changes, says):
    message = refusal(**changes)
    assert message.endswith(says)
    assert message.count(";") == 0


def test_everything_that_is_wrong_is_named_together():
    message = refusal(
        DeploymentId="a/b",
        DeploymentGroupName=7,
        ApplicationName=None,
        Revision={"RevisionType": "S3", "S3Revision": {"BundleType": "rar"}},
        AllPossibleLifecycleEvents="ApplicationStop",
    )
    for part in (
        '"a/b" has a slash in it',
        "DeploymentGroupName is a number and not text",
        "ApplicationName is missing or empty",
        "Revision.S3Revision.Bucket is missing or empty",
        "Revision.S3Revision.Key is missing or empty",
        'Revision.S3Revision.BundleType is "rar"',
        "AllPossibleLifecycleEvents is not a list of texts",
    ):
        assert part in message


@pytest.mark.parametrize("key", ["DeploymentId", "DeploymentGroupId"])
@pytest.mark.parametrize(
    "value", ["..", ".", "a/../../etc", "a\nb", "x" * 201, "arn:aws:codedeploy:deployment/", "arn:/.."]
)
def test_an_id_that_leads_out_of_the_root_directory_is_refused(key, value):
    assert "deployment" in refusal(**{key: value})


@pytest.mark.parametrize("value", [0, 1.5, True, [], ["d-1"], {}, {"a": "b"}])
@pytest.mark.parametrize(
    "key",
    [
        "DeploymentId",
        "DeploymentGroupId",
        "DeploymentGroupName",
        "ApplicationName",
        "DeploymentCreator",
        "DeploymentType",
        "AppSpecFilename",
        "GitHubAccessToken",
        "ReuseArchiveFromDeploymentId",
    ],
)
def test_a_value_of_the_wrong_type_is_named(key, value):
    message = refusal(**{key: value})
    assert f": {key} is " in message
    assert message.endswith(" and not text.")
    assert ";" not in message


@pytest.mark.parametrize("value", [0, True, "S3", ["S3"]])
def test_an_object_of_the_wrong_type_is_named(value):
    assert "Revision is" in refusal(Revision=value)
    assert "Revision.S3Revision is" in refusal(**revision("S3", S3Revision=value))
    assert "AgentActionOverrides is" in refusal(AgentActionOverrides=value)
    assert "AgentActionOverrides.AgentOverrides is" in refusal(AgentActionOverrides={"AgentOverrides": value})


@pytest.mark.parametrize("value", [{}, "Install", 5, [5], [None], ["Install", ["x"]], ["a\0b"]])
def test_lifecycle_events_that_are_no_list_of_names_are_refused(value):
    assert "AllPossibleLifecycleEvents" in refusal(AllPossibleLifecycleEvents=value)


@pytest.mark.parametrize("text", ["a\0b", "a\ud800", "\udcff"])
@pytest.mark.parametrize("key", ["DeploymentGroupName", "ApplicationName", "AppSpecFilename", "DeploymentCreator"])
def test_text_that_no_script_could_be_given_is_refused(key, text):
    assert f"{key} holds" in refusal(**{key: text})


@pytest.mark.parametrize("token", ["gho_secret\r\nHost: evil", "gho_secret x", "gho_sécret"])
def test_a_token_that_would_change_a_request_is_refused_and_not_shown(token):
    message = refusal(GitHubAccessToken=token)
    assert "GitHubAccessToken" in message
    assert "gho" not in message


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"not json", "not JSON"),
        (b'{"DeploymentId": "d-1"', "not JSON"),
        (b'{"DeploymentId": "\xff"}', "not JSON in UTF-8"),
        ("{}".encode("utf-16"), "not JSON in UTF-8"),
        (b"[" * 200_000, "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b"[]", "a list and not an object"),
        (b"null", "null and not an object"),
        (b'"text"', "a text and not an object"),
        (b"1", "a number and not an object"),
        (b"true", "true or false and not an object"),
    ],
)
def test_a_document_that_is_no_specification_is_refused(data, says):
    with pytest.raises(SpecificationError, match=says) as caught:
        parse_specification(data)
    assert len(str(caught.value)) < 500


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def paths(found: object, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(found, dict):
        return []
    return [path for key, value in found.items() for path in ((*above, key), *paths(value, (*above, key)))]


FULL = LEAST | {
    "AgentActionOverrides": {"AgentOverrides": {"FileExistsBehavior": "RETAIN"}},
    "AllPossibleLifecycleEvents": ["Install"],
    "GitHubAccessToken": "token",
    "ReuseArchiveFromDeploymentId": "d-1",
    "Revision": {"RevisionType": "S3", "S3Revision": S3, "GitHubRevision": GITHUB, "LocalRevision": LOCAL},
}


@given(
    kind=st.sampled_from(["S3", "GitHub", "Local File"]),
    changes=st.lists(st.tuples(st.sampled_from(paths(FULL)), values), min_size=1, max_size=4),
)
def test_whatever_stands_anywhere_is_read_or_named(kind, changes):
    document = json.loads(json.dumps(FULL))
    document["Revision"]["RevisionType"] = kind
    for path, value in changes:
        place = document
        for key in path[:-1]:
            place = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[path[-1]] = value
    try:
        found = parse_specification(json.dumps(document).encode())
    except SpecificationError:
        return
    assert found.deployment_id
    assert found.deployment_group_name
    json.dumps(found).encode()
