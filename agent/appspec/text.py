"""From the bytes of an AppSpec file to text that a YAML parser may see."""

from __future__ import annotations

import codecs
import re

from agent.appspec.report import Report
from agent.errors import AppSpecError

# The longest AppSpec files to be expected, one entry of permissions for each of 10,000 files, have up to 1 MiB. With
# twice that, the worst text still takes less than the second and the 100 MB that are promised.
MAX_SIZE = 2 * 1024 * 1024

# The parser compares every directive with all before it (libyaml 0.2.5): many cost minutes, and nobody needs any.
MAX_DIRECTIVES = 20

_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_PRINTABLE_ASCII = bytes({*b"\t\n\r", *range(0x20, 0x7F)})
# YAML 1.1, section 5.1: what may not stand in a stream.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DIRECTIVE = re.compile("(?:^|[\n\r\x85\u2028\u2029])%")


def decode(data: bytes, report: Report) -> str:
    """Turn the bytes of an AppSpec file into text without a byte order mark.

    Raises AppSpecError for what is too long, not UTF-8, or holds characters that YAML does not allow.
    """
    if len(data) > MAX_SIZE:
        raise _refused(
            report,
            f"The AppSpec file has {len(data)} bytes or more; {MAX_SIZE} are allowed.",
            "Give whole directories in the files and permissions sections instead of single files.",
        )
    for mark, name in _OTHER_ENCODINGS:
        if data.startswith(mark):
            raise _refused(report, f"The AppSpec file is written in {name}.", "Save it as UTF-8.", line=1, column=1)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise _refused(
            report,
            f"The byte 0x{data[error.start]:02x} at offset {error.start} (counted from 0) is not UTF-8.",
            "Save the file as UTF-8; Latin-1 text becomes UTF-8 with: iconv -f latin1 -t utf-8.",
            line=line,
            column=column,
        ) from error
    text = text.removeprefix("\ufeff")
    if data.translate(None, _PRINTABLE_ASCII):  # nearly no AppSpec holds any other, and to look closely takes longer
        _refuse_unprintable(text, report)
    if text.count("%") > MAX_DIRECTIVES and len(_DIRECTIVE.findall(text)) > MAX_DIRECTIVES:
        raise _refused(
            report, f"More than {MAX_DIRECTIVES} lines begin with '%', as YAML directives do.", "Remove these lines."
        )
    return text


def _refuse_unprintable(text: str, report: Report) -> None:
    found = _UNPRINTABLE.search(text)
    if found:
        place = found.start()
        raise _refused(
            report,
            f"The control character U+{ord(found[0]):04X} is not allowed in YAML.",
            "Remove it; in a text in double quotes it can be written as an escape.",
            line=text.count("\n", 0, place) + 1,
            column=place - (text.rfind("\n", 0, place) + 1) + 1,
        )


def _refused(report: Report, message: str, remedy: str, *, line: int = 0, column: int = 0) -> AppSpecError:
    report.add(line, column, message, remedy, severity="error")
    return AppSpecError(report.problems())
