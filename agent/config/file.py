"""The configuration file: where it is looked for, and from its text to settings or to every problem in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from agent.config.kinds import BOOL
from agent.config.settings import OFFICIAL_1, RETIRED, TABLE, Row, Settings
from agent.config.traffic import TRAFFIC, read_traffic
from agent.errors import ConfigError, Problem, ProblemsError
from agent.filesystem.reasons import remedy_for

DEFAULT_FILES = (
    "/etc/codedeploy-agent/conf/codedeployagent.yml",
    "/opt/codedeploy-agent/conf/codedeployagent.yml",
)
"""Where the official agents keep their configuration; the first that exists counts."""

ENVIRONMENT_VARIABLE = "CODEDEPLOY_AGENT_CONFIG_FILE"

LARGEST_FILE = 1024 * 1024
"""Bytes; a real one has two thousand, so more is some other file and is not read into memory."""

DEEPEST = 20
"""Levels of lists and mappings in one another; no setting needs more than seven."""

_UNREADABLE = "Name one that you may read with --config-file (codedeploy-local: -c), or leave the option out."

_TOO_DEEP = ("nested too deeply.", "Settings are single values, one a line.")


class SettingsError(ProblemsError, ConfigError):
    """The configuration file has problems; all of them are listed with their lines.

    ``usable`` are the settings without those that have problems: they say where the agent's own files are.
    """

    heading = "problems were found in the configuration file"

    def __init__(self, problems: Sequence[Problem], usable: Settings) -> None:
        super().__init__(problems)
        self.usable = usable


class Loaded(NamedTuple):
    """Settings, the file that they came from (None: only defaults) and what deserves a warning in it."""

    settings: Settings
    path: str | None = None
    warnings: tuple[Problem, ...] = ()


def load(explicit: str | None = None, *, environment: Mapping[str, str] = os.environ) -> Loaded:
    """Read the agent's settings.

    ``explicit`` is the file that the command line names; else the environment variable
    CODEDEPLOY_AGENT_CONFIG_FILE, else the first of ``DEFAULT_FILES`` that exists, else all defaults.
    Raises ConfigError where a file that was named is missing or a file cannot be read, SettingsError with
    every problem in it. The order is that of the official 2.x, with 1.8.1's second directory.
    """
    path = explicit or environment.get(ENVIRONMENT_VARIABLE)
    if not path:
        path = next((candidate for candidate in DEFAULT_FILES if os.path.isfile(candidate)), None)
        if path is None:
            return Loaded(Settings())
    settings, warnings = parse(_read(path), filename=path)
    return Loaded(settings, path, warnings)


def _read(path: str) -> bytes:
    try:
        # Not blocking, or the agent would wait for ever for somebody to write to a pipe of that name; <(...) of a shell
        # is a pipe too, and has its writer already.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            os.set_blocking(file.fileno(), True)
            is_pipe = stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(
            f"The configuration file {path} cannot be read: {error.strerror}.",
            remedy=remedy_for(error, otherwise=_UNREADABLE),
        ) from error
    if is_pipe and not data:
        raise ConfigError(
            f"The configuration file {path} is a pipe that nobody writes to.",
            remedy="Name a file, or something that writes: --config-file <(...).",
        )
    if len(data) > LARGEST_FILE:
        raise ConfigError(
            f"The configuration file {path} has more than {LARGEST_FILE} bytes.",
            remedy="It holds a few lines, one setting each; is this the right file?",
        )
    return data


def parse(data: bytes, *, filename: str) -> tuple[Settings, tuple[Problem, ...]]:
    """Make settings of the text of a configuration file; also return what deserves a warning.

    Keys may begin with a colon or not. An empty value leaves the default. Raises SettingsError with all
    problems at once.
    """
    reader = _Reader(filename)
    values = reader.read(data)
    errors = [problem for problem in reader.problems if problem.severity == "error"]
    if errors:
        raise SettingsError(errors, Settings(**(values or _line_by_line(data))))
    return Settings(**values), tuple(reader.problems)


def load_usable(explicit: str | None = None) -> tuple[Settings, ConfigError | None]:
    """Read the agent's settings as ``load`` does; where they have problems return the usable ones and the error."""
    try:
        return load(explicit).settings, None
    except SettingsError as error:
        return error.usable, error
    except ConfigError as error:
        return Settings(), error


def _line_by_line(data: bytes) -> dict[str, Any]:
    """Return the values of the lines that are right by themselves in a text that is not YAML as a whole."""
    values: dict[str, Any] = {}
    for line in data.splitlines():
        if not line.startswith((b" ", b"\t")):
            values |= _Reader("").read(line)
    return values


class _Reader:
    """Walks one file and collects values and problems."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.problems: list[Problem] = []
        self._seen: dict[str, int] = {}

    def read(self, data: bytes) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, raw, key_node, value_node in self._entries(data):
            self._note_repetition(key, key_node)
            if key in TABLE:
                self._take(key, raw, value_node, values)
            elif key not in RETIRED:
                self._note_unknown(key, key_node)
        return values

    def _entries(self, data: bytes) -> Iterator[tuple[str, object, Any, Any]]:
        import yaml  # only needed where there is a file

        loader = yaml.CSafeLoader(data)
        try:
            if self._nested_too_deeply(data):
                return
            root = loader.get_node() if loader.check_node() else None
            if root is None or root.tag.endswith(":null"):
                return
            if not isinstance(root, yaml.MappingNode):
                self._add(root, "settings were expected.", "Write one a line, such as max_revisions: 5.")
                return
            for key_node, value_node in root.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    self._add(key_node, "this is not the name of a setting.")
                    continue
                scalar = isinstance(value_node, yaml.ScalarNode)
                raw = loader.construct_object(value_node) if scalar else value_node
                yield key_node.value.removeprefix(":"), raw, key_node, value_node
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            # The parser looks ahead, so newer ones come to their own limit before the events tell how deep it goes.
            deep = "nesting depth" in str(error.problem)
            self._add_at(line, column, *(_TOO_DEEP if deep else (f"not YAML: {error.problem}.",)))
        except (yaml.YAMLError, ValueError) as error:
            self._add_at(0, 0, f"not YAML: {error}.", "Save it as UTF-8 text.")
        finally:
            loader.dispose()

    def _nested_too_deeply(self, data: bytes) -> bool:
        import yaml

        # Composing recurses in C and would overflow the stack; walking the events does not.
        depth = 0
        for event in yaml.parse(data, Loader=yaml.CSafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                self._add(event, *_TOO_DEEP)
                return True
        return False

    def _take(self, key: str, raw: object, node: Any, values: dict[str, Any]) -> None:  # noqa: ANN401 - PyYAML's nodes
        row = TABLE[key]
        truth = row.kind is BOOL and row.since == OFFICIAL_1 and raw is not node
        if truth and raw is None and row.default:
            self._take_truth(row, raw, node, values)
            return
        if raw is None or (raw == "" and row.default is None):
            values.pop(key, None)
            return
        if row.kind is TRAFFIC:
            values[key] = read_traffic(node, self._add)
            return
        try:
            values[key] = row.kind.convert(raw)
        except ValueError:
            if truth and (not isinstance(raw, str) or raw in ("", "nil")):  # another word is a mistake
                self._take_truth(row, raw, node, values)
                return
            found = f'"{raw}"' if isinstance(raw, str) else "" if raw is node else f"{node.value}"
            found = found or "a list or a mapping"
            self._add(node, f"{key} is {found}.", f"Expected {row.kind.allowed}.")

    def _take_truth(self, row: Row, raw: object, node: Any, values: dict[str, Any]) -> None:  # noqa: ANN401
        """Take what is neither true nor false by Ruby's truth: hosts of 1.8.1 have such files, and it starts there."""
        truth = values[row.key] = raw is not None and raw != "nil"
        found = "empty" if raw is None else f'"{raw}"' if isinstance(raw, str) else node.value
        text = f"{row.key} is {found}, which counts as {str(truth).lower()}, as it does with the official agent 1.8.1."
        self._add(node, text, "Write true or false.", severity="warning")

    def _note_repetition(self, key: str, node: Any) -> None:  # noqa: ANN401
        line = node.start_mark.line + 1
        if key in self._seen:
            self._add(node, f"{key} stands in line {self._seen[key]} too; the last one counts.", severity="warning")
        self._seen[key] = line

    def _note_unknown(self, key: str, node: Any) -> None:  # noqa: ANN401
        import difflib  # only needed for a mistake

        near = difflib.get_close_matches(key, TABLE, n=1)
        advice = f"Did you mean {near[0]}?" if near else "It has no effect; see codedeploy-agent settings."
        self._add(node, f"unknown setting {key}.", advice, severity="warning")

    def _add(self, node: Any, message: str, remedy: str = "", *, severity: str = "error") -> None:  # noqa: ANN401
        mark = node.start_mark
        self._add_at(mark.line + 1, mark.column + 1, message, remedy, severity=severity)

    def _add_at(self, line: int, column: int, message: str, remedy: str = "", *, severity: str = "error") -> None:
        self.problems.append(Problem(self.filename, line, column, message, remedy, severity))
