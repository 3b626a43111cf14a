"""What a YAML parser's complaint means for the person who wrote the file."""

from __future__ import annotations

import re

import yaml

from agent.text.decode import Format
from agent.text.lookalikes import lookalikes
from agent.text.report import Report

# Tabs usually come by the dozen; every line with one is named, up to this number.
_MAX_TABS = 20

_TAB_INDENT = re.compile(r"[ ]*\t[ \t]*\S")
_GLUED_DASH = re.compile(r" *-(?=\w+:(?: |$))")
_YAML_LINE = re.compile("\r\n|[\n\r\x85\u2028\u2029]")

# The parser's words (libyaml 0.2.5; its Python twin says nearly the same) to ours: what is found, what to do.
_EXPLANATIONS = (
    (
        "mapping values are not allowed",
        "A ':' with a space after it stands where no key can be.",
        "Put quotes around a value that holds ': ', and check that this line is indented like its neighbours.",
    ),
    (
        "did not find expected key",
        "This line does not fit the map around it{above}.",
        "Indent all keys of one map alike, and put quotes around values that begin with a special character.",
    ),
    (
        "did not find expected '-' indicator",
        "This line does not fit the list around it{above}.",
        "Begin every item of a list with '- ', all indented alike.",
    ),
    (
        "could not find expected ':'",
        "A key without ':' after it.",
        "Write 'key: value', with a space after the colon.",
    ),
    (
        "found unexpected end of stream",
        "The quotes that open here are never closed.",
        "Close them; inside single quotes a quote is written twice.",
    ),
    (
        "did not find expected ',' or ']'",
        "The list in square brackets is not continued or closed here{above}.",
        "Put ',' between its items and ']' at its end.",
    ),
    (
        "did not find expected ',' or '}'",
        "The map in braces is not continued or closed here{above}.",
        "Put ',' between its entries and '}' at its end.",
    ),
    (
        "did not find expected node content",
        "A value is missing in a list or map in brackets{above}.",
        "Look for one ',' or bracket too many.",
    ),
    (
        "found unknown escape character",
        "A backslash in double quotes begins an escape that YAML does not know.",
        "Write the text in single quotes, where a backslash is only a backslash.",
    ),
    (
        "did not find expected alphabetic or numeric character",
        "A '*' or '&' begins the name of an alias or anchor, and none follows.",
        "Put quotes around a text that begins so.{about_stars}",
    ),
    (
        "found character that cannot start any token",
        "No value can begin with {char}.",
        "Put quotes around the value.",
    ),
    (
        "block sequence entries are not allowed",
        "A '- ' stands where no list can begin.",
        "Begin the list in a line of its own, below its key.",
    ),
    (
        # Newer parsers have a limit of their own, and looking ahead for a ':' they come to it first.
        "maximum nesting depth",
        "Lists or maps are nested too deeply.",
        "{shape}",
    ),
)


# For these the parser notices too late, and where the thing begins is the place to look at.
_PLACED_AT_BEGINNING = ("could not find expected ':'", "found unexpected end of stream")


def explain(error: yaml.YAMLError, text: str, report: Report, form: Format) -> None:
    """Add what is wrong to the report, with its place: the parser's finding, and tabs wherever they indent."""
    mark = context = None
    problem = str(error)
    if isinstance(error, yaml.MarkedYAMLError):
        mark, context = error.problem_mark or error.context_mark, error.context_mark
        problem = error.problem or error.context or problem
        if context and problem in _PLACED_AT_BEGINNING:
            mark = context
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    places = {line, _line_of(context)}
    if line and (
        _explain_tabs(text, line, report)
        or _explain_lookalike(text, places, report)
        or _explain_dash(text, places, report)
    ):
        return
    above = f"; it begins in line {context.line + 1}" if context and context.line + 1 != line else ""
    for words, message, remedy in _EXPLANATIONS:
        if words in problem:
            message = message.replace("{above}", above).replace("{char}", _character(text, line, column))
            remedy = remedy.replace("{shape}", form.shape).replace("{about_stars}", form.about_stars)
            report.add(line, column, message, remedy, severity="error")
            return
    report.add(line, column, f"This is not YAML: {' '.join(problem.split())}{above}.", "", severity="error")


def _line_of(mark: yaml.Mark | None) -> int:
    return mark.line + 1 if mark else 0


def _explain_lookalike(text: str, lines: set[int], report: Report) -> bool:
    """Name the first character in one of these lines that only looks like one of YAML's."""
    found = next((found for found in lookalikes(text) if found.line in lines), None)
    if found:
        report.add(*found, severity="error")
    return found is not None


def _explain_dash(text: str, lines: set[int], report: Report) -> bool:
    """Name the dash in or above one of these lines that begins no item, because a key follows it at once."""
    written = _YAML_LINE.split(text)
    for number in sorted({*lines, *(line - 1 for line in lines)}):
        found = _GLUED_DASH.match(written[number - 1]) if 0 < number <= len(written) else None
        if found:
            message = "This '-' begins no item of a list, because no space follows it."
            report.add(number, found.end(), message, "Write '- ' before the key.", severity="error")
            return True
    return False


def _character(text: str, line: int, column: int) -> str:
    lines = _YAML_LINE.split(text)
    return repr(lines[line - 1][column - 1 : column]) if 0 < line <= len(lines) else "this character"


def _explain_tabs(text: str, line: int, report: Report) -> bool:
    """Name every line from the given one on that a tab indents, if the given one is among them."""
    lines = _YAML_LINE.split(text)
    if line > len(lines) or not _TAB_INDENT.match(lines[line - 1]):
        return False
    found = 0
    for number in range(line, len(lines) + 1):
        if found < _MAX_TABS and _TAB_INDENT.match(lines[number - 1]):
            found += 1
            report.add(
                number,
                lines[number - 1].index("\t") + 1,
                "A tab indents this line; YAML allows only spaces there.",
                "Replace each tab at the beginning of the line by spaces, two for each level.",
                severity="error",
            )
    return True
