"""The agent's own log: the official agents' line format, or one JSON object a line; and which command a line is about.

``bind`` and ``bound`` name the command that a process, or a block, works for, and every line logged meanwhile carries
those ids. They are structlog's context variables. Importing structlog costs a worker 15 ms and 3 MiB and would cost a
process that only polls much the same for ever, so it is imported by the first ``bind``: a process that never binds
never pays, and names the ids in single lines with ``ids``.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from agent.errors import escaped
from agent.filesystem.daily import DailyFile
from agent.filesystem.reasons import remedy_for
from agent.filesystem.rotating import RotatingFile

LARGEST = 8 * 1024 * 1024
"""Bytes after which a log that is not daily is rotated."""

_PLAIN = re.compile(r"[^\s\"=]+")

_of_process: dict[str, str] = {}


def bind(**values: str) -> None:
    """Let every line of this process carry these ids, whatever thread logs it.

    For a process that works for one command. An empty value is left out.
    """
    _of_process.update(_bind(_present(values)))


@contextmanager
def bound(**values: str) -> Iterator[None]:
    """Let every line that this thread logs in a block carry these ids too."""
    values = _present(values)
    before = _context()
    _bind(values)
    try:
        yield
    finally:
        from structlog import contextvars

        contextvars.unbind_contextvars(*values)
        contextvars.bind_contextvars(**{key: before[key] for key in values if key in before})


def ids(**values: str) -> dict[str, dict[str, str]]:
    """Give what makes a single line carry these ids: ``_log.info("started", extra=ids(command=...))``."""
    return {"ids": _present(values)}


def _present(values: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


def _bind(values: Mapping[str, str]) -> Mapping[str, str]:
    without_rich = sys.modules.setdefault("rich", None) is None  # type: ignore[arg-type]
    try:
        # structlog looks for rich, for colours that no log file has; where it is installed that would take 30 ms.
        from structlog import contextvars
    finally:
        if without_rich:
            sys.modules.pop("rich", None)
    contextvars.bind_contextvars(**values)
    return values


def _context() -> dict[str, str]:
    bound_by_structlog = sys.modules.get("structlog.contextvars")
    return bound_by_structlog.get_contextvars() if bound_by_structlog is not None else {}


def _ids_of(record: logging.LogRecord) -> dict[str, str]:
    # A thread starts with an empty context; what was bound for the process holds for it too.
    return {**_of_process, **_context(), **getattr(record, "ids", {})}


class OfficialFormatter(logging.Formatter):
    """Lines as the official agent 1.8.1 writes them: ``2026-11-23T05:13:10 INFO  [codedeploy-agent(11980)]: text``.

    The time is local and without a zone. Line ends within a message become spaces, so that a record is a line,
    and control characters are escaped. Ids stand at the end: ``text deployment=d-... command=...``.
    """

    def __init__(self, program_name: str) -> None:
        super().__init__()
        self._program_name = program_name

    def format(self, record: logging.LogRecord) -> str:
        """Make one line of a record."""
        level = "WARN" if record.levelname == "WARNING" else record.levelname
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created))
        text = _one_line(_text(self, record))
        pairs = "".join(f" {key}={_quoted(value)}" for key, value in _ids_of(record).items())
        return f"{stamp} {level:<5} [{self._program_name}({record.process})]: {text}{pairs}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC, RFC 3339), level, program, pid, logger, message; then the ids."""

    def __init__(self, program_name: str) -> None:
        super().__init__()
        self._program_name = program_name

    def format(self, record: logging.LogRecord) -> str:
        """Make one line of a record."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "program": self._program_name,
            "pid": record.process,
            "logger": record.name,
            "message": _text(self, record),
        }
        return json.dumps({**line, **{key: str(value) for key, value in _ids_of(record).items() if key not in line}})


def _text(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except (TypeError, ValueError, KeyError):  # the arguments do not fit the text: say what there is
        text = f"{record.msg} {record.args}"
    return f"{text}\n{formatter.formatException(record.exc_info)}" if record.exc_info else text


def _one_line(text: str) -> str:
    return escaped(" ".join(part.strip() for part in text.splitlines() if part.strip()))


def _quoted(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) and text == escaped(text) else json.dumps(text)


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


class _DailyHandler(logging.Handler):
    """Hands records to a daily file; what the disk does not take is counted and told when it takes lines again."""

    def __init__(self, file: DailyFile) -> None:
        super().__init__()
        self._file = file
        self._lost = 0
        self._reason = ""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._lost:
                self._write(self._account())
                self._lost = 0
            self._write(record)
        except OSError as error:
            self._lost += 1
            self._reason = error.strerror or str(error)
            if self._lost == 1:
                self._complain(remedy_for(error))

    def reopen(self) -> None:
        """Open what lies under the file's name at the next line."""
        self.acquire()
        try:
            self._file.close()
        finally:
            self.release()

    def close(self) -> None:
        self._file.close()
        super().close()

    def _write(self, record: logging.LogRecord) -> None:
        self._file.append(self.format(record).encode("utf-8", "backslashreplace") + b"\n")

    def _account(self) -> logging.LogRecord:
        text = f"{self._lost} lines before this one could not be written: {self._reason}"
        return logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)

    def _complain(self, remedy: str) -> None:
        # The service manager keeps what is written here, so that a silent log has an explanation.
        try:
            text = f"The log {self._file.path} cannot be written: {self._reason}. {remedy}".rstrip()
            print(text, file=sys.stderr, flush=True)
        except (OSError, ValueError):
            return


def reopen() -> None:
    """Let the next line open the log afresh, as SIGHUP asks for."""
    for handler in logging.getLogger("agent").handlers:
        if isinstance(handler, _DailyHandler):
            handler.reopen()


def set_up(
    path: str | None,
    *,
    program_name: str,
    verbose: bool = False,
    log_format: str = "text",
    restricted: bool = False,
    on_warning: Callable[[str], None] | None = None,
    daily: bool = False,
) -> None:
    """Send what the agent logs, and what libraries warn of, to a file, or nowhere where there is none.

    ``log_format`` is "text" or "json"; ``restricted`` keeps other users from reading. The file is rotated at 8 MiB
    with 7 older ones kept; with ``daily``, for the daemon and its workers, each day and at 64 MiB, older ones being
    kept for 7 days. Where it cannot be written nothing fails: text is dropped, and with ``daily`` the reason goes to
    stderr and the number of lines to the log when it works again. ``on_warning`` is told the text of each warning
    too. A second call replaces the first.
    """
    logger = logging.getLogger("agent")
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    # What libraries warn of, such as an odd certificate, would go to stderr else.
    logging.captureWarnings(True)
    for one in (logger, logging.getLogger("py.warnings")):
        for handler in one.handlers[:]:
            one.removeHandler(handler)
            handler.close()
        one.propagate = False
        one.addHandler(logging.NullHandler())
    if on_warning is not None:
        logger.addHandler(_WarningHandler(on_warning))
    if path is not None:
        to_file = _file_handler(path, restricted=restricted, daily=daily)
        to_file.setFormatter(JsonFormatter(program_name) if log_format == "json" else OfficialFormatter(program_name))
        logger.addHandler(to_file)
        logging.getLogger("py.warnings").addHandler(to_file)


def _file_handler(path: str, *, restricted: bool, daily: bool) -> logging.Handler:
    mode, directory_mode = (0o640, 0o750) if restricted else (0o644, 0o755)
    if daily:
        return _DailyHandler(DailyFile(path, mode=mode, directory_mode=directory_mode))
    return _RotatingHandler(RotatingFile(path, mode=mode, directory_mode=directory_mode, largest=LARGEST))
