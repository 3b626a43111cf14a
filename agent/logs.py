"""The agent's own log: the official agents' line format, or one JSON object a line."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable

from agent.filesystem.rotating import RotatingFile

LARGEST = 8 * 1024 * 1024
"""Bytes after which the log is rotated."""


class OfficialFormatter(logging.Formatter):
    """Lines as the official agent 1.8.1 writes them: ``2026-11-23T05:13:10 INFO  [codedeploy-agent(11980)]: text``.

    The time is local and without a zone. Line ends within a message become blanks, so that a record is a line.
    """

    def __init__(self, program_name: str) -> None:
        super().__init__()
        self._program_name = program_name

    def format(self, record: logging.LogRecord) -> str:
        """Make one line of a record."""
        level = "WARN" if record.levelname == "WARNING" else record.levelname
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created))
        return f"{stamp} {level:<5} [{self._program_name}({record.process})]: {_one_line(_text(self, record))}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC, RFC 3339), level, program, pid, logger, message."""

    def __init__(self, program_name: str) -> None:
        super().__init__()
        self._program_name = program_name

    def format(self, record: logging.LogRecord) -> str:
        """Make one line of a record."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return json.dumps(
            {
                "time": f"{stamp}.{int(record.msecs):03d}Z",
                "level": record.levelname.lower(),
                "program": self._program_name,
                "pid": record.process,
                "logger": record.name,
                "message": _text(self, record),
            }
        )


def _text(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    text = record.getMessage()
    return f"{text}\n{formatter.formatException(record.exc_info)}" if record.exc_info else text


def _one_line(text: str) -> str:
    return " ".join(part.strip() for part in text.splitlines() if part.strip())


class _WarningHandler(logging.Handler):
    """Tells somebody about warnings; errors are left to whoever reports the failure."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR:
            self._tell(record.getMessage())


class _RotatingHandler(logging.Handler):
    """Hands records to a rotating file, which never fails its user."""

    def __init__(self, file: RotatingFile) -> None:
        super().__init__()
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        self._file.write(self.format(record).encode("utf-8", "backslashreplace") + b"\n")

    def close(self) -> None:
        self._file.close()
        super().close()


def set_up(
    path: str | None,
    *,
    program_name: str,
    verbose: bool = False,
    log_format: str = "text",
    restricted: bool = False,
    on_warning: Callable[[str], None] | None = None,
) -> None:
    """Send what the agent logs to a file, or nowhere where there is none.

    ``log_format`` is "text" or "json"; ``restricted`` keeps other users from reading. The file is rotated at 8 MiB,
    with 7 older ones kept. Where it cannot be written nothing is logged and nothing fails. ``on_warning`` is
    told the text of each warning too. A second call replaces the first.
    """
    logger = logging.getLogger("agent")
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.addHandler(logging.NullHandler())
    if on_warning is not None:
        logger.addHandler(_WarningHandler(on_warning))
    if path is not None:
        file = RotatingFile(
            path, mode=0o640 if restricted else 0o644, folder_mode=0o750 if restricted else 0o755, largest=LARGEST
        )
        to_file = _RotatingHandler(file)
        to_file.setFormatter(JsonFormatter(program_name) if log_format == "json" else OfficialFormatter(program_name))
        logger.addHandler(to_file)
