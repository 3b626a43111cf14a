"""The agent's own log: one pipeline of processors for every record, and the files that take its lines.

A record comes from a logger of structlog or of the standard library, which the libraries use. All pass the same
processors, and the last one renders the official agents' line format or one JSON object a line. ``bind`` names the
command that a process works for, and every line logged from then on carries those ids. In the daemon and its workers
structlog runs the processors; ``codedeploy-local`` starts sooner without it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from agent.errors import escaped
from agent.filesystem.daily import DailyFile
from agent.filesystem.reasons import remedy_for
from agent.filesystem.rotating import RotatingFile

if TYPE_CHECKING:  # at run time structlog is imported where a daily log is set up: its import takes 35 ms
    from structlog.typing import EventDict, Processor, WrappedLogger

LARGEST = 8 * 1024 * 1024
"""Bytes after which a log that is not daily is rotated."""

TO_JOURNAL: Mapping[str, object] = {"to_journal": True}
"""The ``extra`` of a line below WARNING that belongs in the journal: starts, stops, deployments and their events."""

_PLAIN = re.compile(r"[^\s\"=]+")

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
_JOURNAL_FIELDS = {
    "event": "LIFECYCLE_EVENT",
    "command": "COMMAND",
    "deployment": "DEPLOYMENT_ID",
    "group": "DEPLOYMENT_GROUP",
}
_LONGEST_MESSAGE = 32 * 1024  # characters; a datagram has its limit

_of_process: dict[str, str] = {}


def bind(**ids: str) -> None:
    """Let every line of this process carry these ids.

    For a process that works for one command. An empty value is left out. ``lifecycle_event`` becomes the id ``event``,
    which is structlog's name for the text of a line.
    """
    # Not into the context of structlog: a new thread has an empty one, and its lines carry the ids too.
    _of_process.update({key: value for key, value in ids.items() if value})


def bound_ids() -> dict[str, str]:
    """Return the ids that every line of this process carries now."""
    return dict(_of_process)


@contextmanager
def bound(**ids: str) -> Iterator[None]:
    """Let every line of this process carry these ids too while the block lasts."""
    before = dict(_of_process)
    bind(**ids)
    try:
        yield
    finally:
        _of_process.clear()
        _of_process.update(before)


def set_up(
    path: str | None,
    *,
    program_name: str,
    verbose: bool = False,
    log_format: str = "text",
    restricted: bool = False,
    on_warning: Callable[[str], None] | None = None,
    daily: bool = False,
    journal: str = "",
) -> None:
    """Send what the agent logs, and the warnings of libraries, to a file, or nowhere without a path.

    ``log_format`` is "text" or "json"; ``restricted`` keeps other users from reading. The file is rotated at 8 MiB
    with 7 older ones kept; with ``daily``, for the daemon and its workers, each day and at 64 MiB, older ones being
    kept for 7 days. Where it cannot be written nothing fails: text is dropped, and with ``daily`` the reason goes to
    stderr and the number of lines to the log when it works again. ``on_warning`` gets the text of each warning of the
    agent too. ``journal`` is the socket of systemd's journal that gets warnings, errors and what is marked with
    ``TO_JOURNAL``. A second call replaces the first.
    """
    if daily:
        _configure_structlog()
    logging.captureWarnings(True)
    # The root logger is the libraries', and stays at WARNING.
    root, agent = logging.getLogger(), logging.getLogger("agent")
    agent.setLevel(logging.DEBUG if verbose else logging.INFO)
    agent.propagate = False
    to_file = _NowhereHandler() if path is None else _file_handler(path, restricted=restricted, daily=daily)
    render = _json_line(program_name) if log_format == "json" else _official_line(program_name)
    to_file.addFilter(_show_message)
    to_file.setFormatter(_structlog_formatter(render) if daily else _Formatter(render))
    for logger in (root, agent):
        for handler in logger.handlers[:]:
            if logger is agent or isinstance(handler, _OURS):
                logger.removeHandler(handler)
                handler.close()
        logger.addHandler(to_file)
        if journal:
            logger.addHandler(_JournalHandler(journal, program_name))
    if on_warning is not None:
        agent.addHandler(_WarningHandler(on_warning))


def reopen() -> None:
    """Let the next line open the log afresh, as SIGHUP asks for."""
    for handler in logging.getLogger("agent").handlers:
        if isinstance(handler, _DailyHandler):
            handler.reopen()


def reach_journal() -> bool:
    """Return whether warnings and errors are in the journal already, and stderr need not have them too."""
    return any(isinstance(handler, _JournalHandler) for handler in logging.getLogger("agent").handlers)


def _official_line(program_name: str) -> Processor:
    """Return the renderer of lines as the official agent 1.8.1 writes them.

    ``2026-11-23T05:13:10 INFO  [codedeploy-agent(11980)]: text``: the time is local and without a zone. Line ends
    within a message become spaces, so that a record is a line, and control characters are escaped. Ids stand at the
    end: ``text deployment=d-... command=...``.
    """

    def render(logger: WrappedLogger, method: str, event_dict: EventDict) -> str:
        record, text, ids = _parts(event_dict)
        level = "WARN" if record.levelname == "WARNING" else record.levelname
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created))
        pairs = "".join(f" {key}={_quoted(value)}" for key, value in ids.items())
        return f"{stamp} {level:<5} [{program_name}({record.process})]: {_one_line(text)}{pairs}"

    return render


def _json_line(program_name: str) -> Processor:
    """Return the renderer of one JSON object a line.

    Its keys: time (UTC, RFC 3339), level, program, pid, logger, message; then the ids.
    """

    def render(logger: WrappedLogger, method: str, event_dict: EventDict) -> str:
        record, text, ids = _parts(event_dict)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "program": program_name,
            "pid": record.process,
            "logger": record.name,
            "message": text,
        }
        return json.dumps({**fields, **{key: value for key, value in ids.items() if key not in fields}})

    return render


def _journal_entry(program_name: str) -> Processor:
    """Return the renderer of the journal's native protocol: a field a line, of which none has a line end in it."""

    def render(logger: WrappedLogger, method: str, event_dict: EventDict) -> str:
        record, text, ids = _parts(event_dict)
        fields = {
            "PRIORITY": next(priority for level, priority in _PRIORITIES if record.levelno >= level),
            "SYSLOG_IDENTIFIER": program_name,
            "SYSLOG_PID": record.process,
            "MESSAGE": _one_line(text)[:_LONGEST_MESSAGE],
            **{field: _one_line(ids[key]) for key, field in _JOURNAL_FIELDS.items() if key in ids},
        }
        return "".join(f"{name}={value}\n" for name, value in fields.items())

    return render


class _Formatter(logging.Formatter):
    """Makes lines of the records of the standard library alone, where no module has a logger of structlog."""

    def __init__(self, render: Processor) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        """Return one line for a record."""
        event_dict: EventDict = {"event": record.msg, "positional_args": record.args, "_record": record}
        if record.exc_info:
            event_dict["exception"] = self.formatException(record.exc_info)
        for process in (_add_ids, _fill_in):
            event_dict = process(None, "", event_dict)
        return str(self._render(None, "", event_dict))


def _configure_structlog() -> None:
    """Let structlog's loggers hand their records to the standard library's."""
    import structlog

    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def _structlog_formatter(render: Processor) -> logging.Formatter:
    """Return what makes lines of the records of structlog and of the standard library."""
    import structlog

    return structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_ids,
            structlog.processors.format_exc_info,
            _fill_in,
            render,
        ],
        use_get_message=False,
        pass_foreign_args=True,
    )


def _show_message(record: logging.LogRecord) -> bool:
    """Turn the message of a record into text, so that no value fails a line."""
    if not isinstance(record.msg, str | dict):
        record.msg = _shown(record.msg)
    return True


def _add_ids(logger: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
    return {**_of_process, **event_dict}


def _fill_in(logger: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
    """Put the arguments into the text, as ``logging`` does, and a traceback below it.

    structlog's own processor for arguments raises where they do not fit; here the line shows both.
    """
    text, arguments = _shown(event_dict["event"]), event_dict.pop("positional_args", None)
    try:
        event_dict["event"] = text % arguments if arguments else text
    except Exception:  # noqa: BLE001 - a value may raise anything when it is shown
        event_dict["event"] = f"{text} {_shown(arguments)}"
    traceback = event_dict.pop("exception", "")
    return {**event_dict, "event": "\n".join(filter(None, (event_dict["event"], traceback)))}


def _text_only(logger: WrappedLogger, method: str, event_dict: EventDict) -> str:
    return str(event_dict["event"])


def _parts(event_dict: EventDict) -> tuple[logging.LogRecord, str, dict[str, str]]:
    """Return the record that an event came with, its text, and its ids by the names that lines give them."""
    reserved = ("event", "stack_info", "_record", "_from_structlog")
    found = {
        "event" if key == "lifecycle_event" else key: _shown(value)
        for key, value in event_dict.items()
        if key not in reserved and value != ""
    }
    ids = {key: found[key] for key in _JOURNAL_FIELDS if key in found} | found  # in the same order in every line
    return event_dict["_record"], event_dict["event"], ids


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - as above
        return f"(not shown: {type(error).__name__})"


def _one_line(text: str) -> str:
    return escaped(" ".join(part.strip() for part in text.splitlines() if part.strip()))


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) and value == escaped(value) else json.dumps(value)


class _NowhereHandler(logging.NullHandler):
    """Keeps Python from printing to stderr what no file takes."""


class _WarningHandler(logging.Handler):
    """Passes warnings on to a callable; errors are left to the code that reports the failure."""

    def __init__(self, report: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._report = report
        self.addFilter(_show_message)
        self.setFormatter(_Formatter(_text_only))

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR:
            self._report(self.format(record))


class _JournalHandler(logging.Handler):
    """Sends entries to the journal; one that it does not take at once is dropped, since the log has it."""

    def __init__(self, path: str, program_name: str) -> None:
        import socket  # which a local deployment does without

        super().__init__()
        self.addFilter(_show_message)
        self.setFormatter(_structlog_formatter(_journal_entry(program_name)))
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING and not getattr(record, "to_journal", False):
            return
        with suppress(OSError):
            self._socket.sendto(self.format(record).encode("utf-8", "backslashreplace"), self._path)

    def close(self) -> None:
        self._socket.close()
        super().close()


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


_OURS = (_NowhereHandler, _RotatingHandler, _DailyHandler, _JournalHandler)


def _file_handler(path: str, *, restricted: bool, daily: bool) -> logging.Handler:
    mode, directory_mode = (0o640, 0o750) if restricted else (0o644, 0o755)
    if daily:
        return _DailyHandler(DailyFile(path, mode=mode, directory_mode=directory_mode))
    return _RotatingHandler(RotatingFile(path, mode=mode, directory_mode=directory_mode, largest=LARGEST))
