from __future__ import annotations

from agent.text.report import MAX_LISTED, Report, listed, shown


def test_problems_come_by_place_and_those_of_the_whole_file_first():
    report = Report("f")
    report.add(3, 1, "c.", "", severity="error")
    report.add(2, 9, "b.", "", severity="warning")
    report.add(2, 1, "a.", "", severity="error")
    assert [problem.message for problem in report.problems()] == ["a.", "b.", "c."]


def test_warnings_alone_are_no_failure():
    report = Report("f")
    report.add(1, 1, "a.", "", severity="warning")
    assert not report.failed
    report.add(1, 1, "a.", "", severity="error")
    assert report.failed


def test_warnings_never_push_errors_off_the_list():
    report = Report("f")
    for _ in range(MAX_LISTED + 5):
        report.add(1, 1, "w.", "", severity="warning")
    report.add(9, 1, "e.", "", severity="error")
    problems = report.problems()
    assert [problem.message for problem in problems if problem.severity == "error"] == ["e."]
    assert "5 more warnings" in problems[-1].message


def test_advice_for_problems_that_are_not_listed_is_not_worked_out():
    report = Report("f")
    asked = []
    for number in range(MAX_LISTED * 2):
        report.add(1, 1, "e.", lambda number=number: asked.append(number) or "", severity="error")
    assert len(asked) == MAX_LISTED


def test_values_are_shown_in_quotes_escaped_and_cut():
    assert shown("a\n\x1b") == "'a\\n\\x1b'"
    assert shown("x" * 1000) == f"'{'x' * 60}'..."


def test_words_are_joined_for_a_sentence():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"], last="and") == "a, b and c"
