"""What programs read of ``validate`` says the same as the lines for people."""

from __future__ import annotations

import json

import pytest

from agent.cli.validate_formats import PRINTERS
from agent.errors import Problem
from agent.local.validation import Validation

ERROR = Problem("a b/appspec.yml", 3, 5, "One, two: 100%.", "Do\nthis.", "error")
NOTE = Problem("/srv/\udcff/appspec.yml", 0, 0, "Noted.", "", "note")
RESULTS = [
    Validation("a b/appspec.yml", b"", (ERROR,), complete=True),
    Validation("/srv/\udcff/appspec.yml", b"", (NOTE,), complete=True),
]


def printed(name: str) -> list[str]:
    return list(PRINTERS[name](RESULTS))


def test_json_is_one_object_for_all_paths() -> None:
    document = json.loads("".join(printed("json")))
    assert (document["valid"], document["file"]) == (False, None)
    assert [problem["file"] for problem in document["problems"]] == [ERROR.file, NOTE.file]
    assert json.loads("".join(PRINTERS["json"](RESULTS[1:])))["file"] == NOTE.file


def test_a_problem_is_one_command_of_github_whatever_it_holds() -> None:
    assert printed("github") == [
        "::error file=a b/appspec.yml,line=3,col=5::One, two: 100%25. Do%0Athis.",
        "::notice file=/srv/\udcff/appspec.yml::Noted.",
    ]
    odd = Problem("a,b:c", 1, 1, "x", "", "warning")
    (line,) = PRINTERS["github"]([Validation("a,b:c", b"", (odd,), complete=True)])
    assert line == "::warning file=a%2Cb%3Ac,line=1,col=1::x"


def test_sarif_names_the_place_of_each_problem() -> None:
    log = json.loads("".join(printed("sarif")))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    first, second = run["results"]
    assert {first["ruleId"], second["ruleId"]} == set(rules)
    assert (first["level"], second["level"]) == ("error", "note")
    place = first["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "a%20b/appspec.yml"},
        "region": {"startLine": 3, "startColumn": 5},
    }
    whole = second["locations"][0]["physicalLocation"]
    assert whole == {"artifactLocation": {"uri": "file:///srv/%FF/appspec.yml"}}


@pytest.mark.parametrize("name", sorted(PRINTERS))
def test_nothing_wrong_is_nothing_printed_but_the_frame(name: str) -> None:
    good = [Validation("appspec.yml", b"", (), complete=True)]
    text = "\n".join(PRINTERS[name](good))
    assert text == "" if name == "github" else json.loads(text)
