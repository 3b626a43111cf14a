"""The outcome of a host command and its diagnostics."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from agent.errors import AgentError, DiagnosticCode, ScriptError

PAYLOAD_LIMIT = 8192
"""Characters of a diagnostics payload that the command service's model allows."""

SUCCEEDED = "Succeeded: "
"""How the message of every success begins; programs read it."""

_CUT = "... (cut)"
_MESSAGE_SHARE = PAYLOAD_LIMIT // 2
_NAME_SHARE = PAYLOAD_LIMIT // 8
_SURROGATES = re.compile("[\ud800-\udfff]")


class Outcome(NamedTuple):
    """How one host command ended; the four diagnostics as the service and its consoles read them.

    ``remedy`` is advice for a person at this host; it is part of ``message`` already.
    """

    error_code: DiagnosticCode
    script_name: str = ""
    message: str = ""
    log: str = ""
    remedy: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the command did what it was to do."""
        return self.error_code is DiagnosticCode.SUCCESS

    @property
    def status(self) -> str:
        """The command status on the wire: Succeeded or Failed."""
        return "Succeeded" if self.succeeded else "Failed"

    def payload(self) -> str:
        """The diagnostics as a JSON text of at most ``PAYLOAD_LIMIT`` characters, in the official key order.

        Always valid JSON that can be encoded as UTF-8: what was not UTF-8 becomes U+FFFD. Where it is too long,
        the message and the script's name keep their beginnings, and the log keeps its last whole lines, or
        the end of the last one.
        """
        script_name = _head(_printable(self.script_name), _NAME_SHARE)
        message = _head(_printable(self.message), _MESSAGE_SHARE)
        bare = _render(self.error_code, script_name, message, "")
        return _render(self.error_code, script_name, message, _tail(_printable(self.log), PAYLOAD_LIMIT - len(bare)))


def success(detail: str = "") -> Outcome:
    """The outcome of a command that worked; ``detail`` follows "Succeeded: "."""
    return Outcome(DiagnosticCode.SUCCESS, message=SUCCEEDED + detail)


def failure(error: AgentError) -> Outcome:
    """The outcome of a command that ended with this error."""
    if isinstance(error, ScriptError):
        return Outcome(error.code, error.script_name, str(error), error.log, error.remedy)
    return Outcome(error.code, message=str(error), remedy=error.remedy)


def _render(code: DiagnosticCode, script_name: str, message: str, log: str) -> str:
    fields = {"error_code": int(code), "script_name": script_name, "message": message, "log": log}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _printable(text: str) -> str:
    return _SURROGATES.sub("\ufffd", text)


def _width(character: str) -> int:
    """Characters that one character takes in a JSON text."""
    return len(json.dumps(character, ensure_ascii=False)) - 2


def _head(text: str, limit: int) -> str:
    """The beginning of a text that is longer than ``limit`` once it is escaped, marked as cut."""
    if len(json.dumps(text, ensure_ascii=False)) - 2 <= limit:
        return text
    room, end = limit - len(_CUT), 0
    while room >= (width := _width(text[end])):
        room -= width
        end += 1
    return text[:end] + _CUT


def _tail(text: str, limit: int) -> str:
    """The last whole lines of a text that fit ``limit`` once escaped, or the end of the last line."""
    room, start = limit, len(text)
    while start > 0 and room >= (width := _width(text[start - 1])):
        room -= width
        start -= 1
    if start == 0:
        return text
    if text[start - 1] == "\n":
        return text[start:]
    line_end = text.find("\n", start)
    # Beginning with a whole line is better to read, but not if that leaves nothing.
    return text[line_end + 1 :] if 0 <= line_end < len(text) - 1 else text[start:]
