"""From the bytes of a file to text that a YAML parser may see."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from agent.errors import ProblemsError
from agent.text.report import Report

# The parser compares every directive with all before it (libyaml 0.2.5): many cost minutes, and nobody needs any.
MAX_DIRECTIVES = 20

_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_PRINTABLE_ASCII = bytes({*b"\t\n\r", *range(0x20, 0x7F)})
# Compiled when a file asks for them, since nearly none does. YAML 1.1, section 5.1: what may not stand in a stream.
_UNPRINTABLE = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
_DIRECTIVE = "(?:^|[\n\r\x85\u2028\u2029])%"


class Format(NamedTuple):
    """One kind of file: its name in messages, its limits, and what to do where a file breaks one of them.

    ``max_size`` is in bytes, ``max_nodes`` counts texts, lists and maps, an alias with all that it stands for. Where
    the format is ``strict``, a key that is a list is an error, and so is one that stands twice in an inner map. No
    message repeats a value of a ``secret`` file.
    """

    name: str
    max_size: int
    max_depth: int
    max_nodes: int
    shape: str
    smaller: str
    about_stars: str = ""
    strict: bool = False
    secret: bool = False


def decode(data: bytes, report: Report, form: Format) -> str:
    """Turn the bytes of a file into text without a byte order mark.

    Raises ProblemsError for what is too long, not UTF-8, or holds characters that YAML does not allow.
    """
    if len(data) > form.max_size:
        raise refusal(report, f"The {form.name} has more than {form.max_size} bytes.", form.smaller)
    for mark, encoding in _OTHER_ENCODINGS:
        if data.startswith(mark):
            message = f"The {form.name} is written in {encoding}."
            raise refusal(report, message, "Save it as UTF-8.", line=1, column=1)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise refusal(
            report,
            f"The byte 0x{data[error.start]:02x} at offset {error.start} (counted from 0) is not UTF-8.",
            "Save the file as UTF-8; Latin-1 text becomes UTF-8 with: iconv -f latin1 -t utf-8.",
            line=line,
            column=column,
        ) from error
    text = text.removeprefix("\ufeff")
    if data.translate(None, _PRINTABLE_ASCII):  # nearly no file holds any other, and to look closely takes longer
        _refuse_unprintable(text, report)
    if text.count("%") > MAX_DIRECTIVES and len(re.findall(_DIRECTIVE, text)) > MAX_DIRECTIVES:
        raise refusal(
            report, f"More than {MAX_DIRECTIVES} lines begin with '%', as YAML directives do.", "Remove these lines."
        )
    return text


def _refuse_unprintable(text: str, report: Report) -> None:
    found = re.search(_UNPRINTABLE, text)
    if found:
        place = found.start()
        raise refusal(
            report,
            f"The control character U+{ord(found[0]):04X} is not allowed in YAML.",
            "Remove it; in a text in double quotes it can be written as an escape.",
            line=text.count("\n", 0, place) + 1,
            column=place - (text.rfind("\n", 0, place) + 1) + 1,
        )


def refusal(report: Report, message: str, remedy: str, *, line: int = 0, column: int = 0) -> ProblemsError:
    """Note what makes the whole text unusable, and return the error to raise."""
    report.add(line, column, message, remedy, severity="error")
    return ProblemsError(report.problems())
