from __future__ import annotations

import pytest

from agent.appspec.names import candidates
from agent.errors import SpecificationError


@pytest.mark.parametrize(
    ("requested", "names"),
    [
        ("appspec.yml", ("appspec.yml", "appspec.yaml")),
        ("appspec.yaml", ("appspec.yaml", "appspec.yml")),
        ("deploy/my.yml", ("deploy/my.yml", "appspec.yaml", "appspec.yml")),
        ("a..b.yml", ("a..b.yml", "appspec.yaml", "appspec.yml")),
    ],
)
def test_the_requested_name_comes_first_and_then_the_defaults(requested, names):
    assert candidates(requested) == names


@pytest.mark.parametrize("name", ["/etc/passwd", "../x.yml", "a/../../x", "..", "a\\b", "a\0b", "", " "])
def test_a_name_that_could_leave_the_revision_is_refused(name):
    with pytest.raises(SpecificationError, match="AppSpec file name"):
        candidates(name)
