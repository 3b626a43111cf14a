from __future__ import annotations

import pytest

from agent.history.find import NoSuchDeploymentError, find, find_group
from agent.history.read import read_host
from host_records import HostRecords


@pytest.fixture
def history(records: HostRecords):
    for name in ("d-ABCDEFGHI", "d-ABX", "d-ABXYZ"):
        records.deployment(name, group="group-1")
    records.official("d-OTHER", group="group-2")
    return read_host(records.layout, keep=5)


@pytest.mark.parametrize("text", ["d-ABCDEFGHI", "d-ABC", "d-O", "d-ABX"])
def test_an_id_or_its_unique_beginning_is_enough(history, text):
    assert find(history, text).deployment.startswith(text)


def test_an_exact_id_comes_before_one_that_it_begins(history):
    assert find(history, "d-ABX").deployment == "d-ABX"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("d-AB", ["3 deployments", "d-ABX", "Type more"]),
        ("d-ABCDEFGHJ", ["Did you mean 'd-ABCDEFGHI'?", "deployments list"]),
        ("d-ZZZZZZZZZZZ", ["knows no deployment", "deployments list"]),
        ("", ["knows no deployment"]),
    ],
)
def test_an_id_that_names_no_single_deployment_says_what_to_do(history, text, expected):
    with pytest.raises(NoSuchDeploymentError) as caught:
        find(history, text)
    assert all(part in str(caught.value) for part in expected)


def test_a_group_is_found_by_its_id_or_its_name(history):
    assert find_group(history, "group-1") is find_group(history, "Web")


def test_a_group_that_is_not_known_has_a_suggestion(history):
    with pytest.raises(NoSuchDeploymentError, match="Did you mean 'group-"):
        find_group(history, "groop-1")


def test_a_user_who_may_not_see_all_groups_is_told_so(history):
    with pytest.raises(NoSuchDeploymentError, match="This user may not see all of them: ask as root"):
        find_group(history._replace(unseen=("/root",)), "Other")
