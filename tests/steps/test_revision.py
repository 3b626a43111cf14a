import logging
import os

import pytest

from agent.deployment.lifecycle import BY_NAME, RevisionChoice
from agent.errors import AppSpecError, AppSpecMissingError, SpecificationError
from agent.steps.revision import choose_revision, find_appspec, load_appspec
from revisions import HEAD, write_revision

ROLLBACK = {"deployment_creator": "codeDeployRollback", "deployment_type": "BLUE_GREEN"}

# Which of the three revisions on the host an event uses before the deployment's own is there: (normally, rollback).
EXPECTED = {
    "BeforeBlockTraffic": ("last", "recent"),
    "AfterBlockTraffic": ("last", "recent"),
    "ApplicationStop": ("last", "last"),
    "BeforeInstall": ("new", "new"),
    "AfterInstall": ("new", "new"),
    "ApplicationStart": ("new", "new"),
    "ValidateService": ("new", "new"),
    "BeforeAllowTraffic": ("new", "last"),
    "AfterAllowTraffic": ("new", "last"),
}


@pytest.fixture
def history(bench):
    bench.point(bench.layout.last_successful("g"), bench.unpacked("last", {}))
    bench.point(bench.layout.most_recent("g"), bench.unpacked("recent", {}))
    return bench


@pytest.mark.parametrize("event", EXPECTED)
@pytest.mark.parametrize(
    ("fields", "column"),
    [
        ({}, 0),
        (ROLLBACK, 1),
        ({"deployment_creator": "codeDeployRollback"}, 0),
        ({"deployment_type": "BLUE_GREEN"}, 0),
    ],
)
def test_every_event_uses_the_revision_that_the_service_documents(history, event, fields, column):
    chosen = choose_revision(BY_NAME[event], history.spec("new", **fields), history.layout)
    assert os.path.basename(chosen.deployment) == EXPECTED[event][column]


@pytest.mark.parametrize("event", EXPECTED)
@pytest.mark.parametrize("fields", [{}, ROLLBACK])
def test_once_the_new_revision_is_unpacked_every_event_uses_it(history, event, fields):
    history.unpacked("new", {})
    chosen = choose_revision(BY_NAME[event], history.spec("new", **fields), history.layout)
    assert (os.path.basename(chosen.deployment), chosen.choice) == ("new", RevisionChoice.CURRENT)


def test_the_first_deployment_of_a_group_has_no_earlier_scripts(bench):
    assert choose_revision(BY_NAME["ApplicationStop"], bench.spec("new"), bench.layout) is None


def test_an_earlier_revision_that_was_deleted_blocks_nothing_but_is_mentioned(bench, caplog):
    bench.point(bench.layout.last_successful("g"), f"{bench.top}/root/g/gone")
    with caplog.at_level(logging.WARNING):
        assert choose_revision(BY_NAME["ApplicationStop"], bench.spec("new"), bench.layout) is None
    assert f"{bench.top}/root/g/gone" in caplog.text


@pytest.mark.parametrize(
    ("present", "requested", "found"),
    [
        (["appspec.yml"], "appspec.yml", "appspec.yml"),
        (["appspec.yaml"], "appspec.yml", "appspec.yaml"),
        (["appspec.yml", "appspec.yaml"], "appspec.yml", "appspec.yml"),
        (["appspec.yml", "appspec.yaml", "d/a.yml"], "d/a.yml", "d/a.yml"),
        (["appspec.yml", "appspec.yaml"], "d/a.yml", "appspec.yaml"),
        (["appspec.yml"], "d/a.yml", "appspec.yml"),
    ],
)
def test_the_appspec_is_looked_for_under_the_requested_name_and_then_the_usual_ones(
    tmp_path, present, requested, found
):
    write_revision(str(tmp_path), dict.fromkeys(present, HEAD), appspec=None)
    assert find_appspec(str(tmp_path), requested) == found
    assert load_appspec(str(tmp_path), requested).filename == found


def test_a_missing_appspec_names_what_was_looked_for_and_what_is_there(tmp_path):
    write_revision(str(tmp_path), {"AppSpec.yml.txt": ""}, appspec=None)
    with pytest.raises(AppSpecMissingError) as caught:
        load_appspec(str(tmp_path), "deploy.yml")
    for text in (str(tmp_path), "deploy.yml, appspec.yaml or appspec.yml", "AppSpec.yml.txt"):
        assert text in caught.value.message


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside.yml", "/nowhere"])
def test_a_link_that_leads_out_of_the_revision_is_not_read(tmp_path, target):
    (tmp_path / "outside.yml").write_text(HEAD)
    (tmp_path / "archive").mkdir()
    os.symlink(target, tmp_path / "archive" / "appspec.yml")
    with pytest.raises(AppSpecMissingError, match="leads out"):
        load_appspec(str(tmp_path / "archive"), "appspec.yml")


def test_a_link_within_the_revision_is_followed_also_where_the_root_is_a_link(tmp_path):
    write_revision(str(tmp_path / "real"), {"conf/a.yml": HEAD}, appspec=None)
    os.symlink("conf/a.yml", tmp_path / "real" / "appspec.yml")
    os.symlink("real", tmp_path / "archive")
    assert load_appspec(str(tmp_path / "archive"), "appspec.yml").filename == "appspec.yml"


@pytest.mark.parametrize("name", ["../appspec.yml", "/etc/appspec.yml", "a/../../b.yml", "a\\b.yml", ""])
def test_a_name_that_could_lead_out_of_the_revision_is_refused(tmp_path, name):
    with pytest.raises(SpecificationError):
        load_appspec(str(tmp_path), name)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_directory_or_a_pipe_in_place_of_the_appspec_is_named_and_holds_nobody_up(tmp_path, make):
    make(tmp_path / "appspec.yml")
    with pytest.raises(AppSpecMissingError, match="not a regular file"):
        load_appspec(str(tmp_path), "appspec.yml")


def test_a_gigantic_appspec_is_refused_without_reading_it_whole(tmp_path):
    with open(tmp_path / "appspec.yml", "wb") as file:
        os.truncate(file.fileno(), 1 << 40)
    with pytest.raises(AppSpecError):
        load_appspec(str(tmp_path), "appspec.yml")


def test_a_revision_that_is_gone_is_not_called_one_without_an_appspec(tmp_path):
    archive = str(tmp_path / "d-1" / "deployment-archive")
    with pytest.raises(AppSpecMissingError) as caught:
        find_appspec(archive, "appspec.yml")
    assert caught.value.message == f"There is no unpacked revision {archive}."
    assert "something has removed the revision since" in caught.value.remedy
