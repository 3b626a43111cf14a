"""A support bundle: findings, configuration, records and logs of this host, every text without its secrets."""

from __future__ import annotations

import io
import json
import os
import platform
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from agent import __version__
from agent.config.file import ENVIRONMENT_VARIABLE, configuration_paths
from agent.doctor.examination import Examined, document
from agent.doctor.redaction import Redactor
from agent.doctor.subject import Subject
from agent.doctor.version_checks import DISTRIBUTION, requirements
from agent.errors import AgentError
from agent.filesystem.regular import open_regular
from agent.fleet import places
from agent.fleet.commands import attempt, find
from agent.fleet.errors import FleetError

LARGEST_LOG = 1024 * 1024
"""Bytes of the end of each log; a day of an idle agent has a tenth of it."""

LARGEST_RECORD = 256 * 1024
MOST_FILES = 100
"""Files of each kind, the newest first."""

MOST_DEPLOYMENT_FILES = 20

_PROGRAM_LIMIT = 20.0  # seconds
_JOURNAL_LINES = "1000"
_COMMANDS = {
    "status.json": ("status", "--json"),
    "settings.txt": ("settings",),
    "deployments.json": ("deployments", "list", "--json"),
}
_PROXY_VARIABLES = ("https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY")
_SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "CODEDEPLOY_GITHUB_TOKEN")


class Member(NamedTuple):
    """A file of the bundle, and how many secrets were taken out of it."""

    name: str
    text: str
    removed: int


class SecretLeftError(AgentError):
    """A text still had a secret after all were taken out."""


def write_bundle(subject: Subject, examined: Sequence[Examined], path: str) -> list[Member]:
    """Write the bundle (mode 0600) and return what is in it; an existing file is left alone.

    Each text is searched a second time. Raises SecretLeftError where that finds a secret, and OSError; no file is left
    then.
    """
    redactor = Redactor(known_secrets(subject))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            members = [Member(name, *redactor.redact(text)) for name, text in _texts(subject, examined)]
            for member in members:
                if not redactor.finds_none(member.text):
                    raise SecretLeftError(
                        f"{member.name} may still hold a secret, so no bundle is written.",
                        remedy="Report this; send single files that you have read instead.",
                    )
            _pack(members, file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
    return members


def _pack(members: Sequence[Member], file: io.BufferedWriter) -> None:
    top = f"codedeploy-agent-{time.strftime('%Y%m%dT%H%M%S')}"
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for member in members:
            data = member.text.encode("utf-8", "backslashreplace")
            header = tarfile.TarInfo(f"{top}/{member.name}")
            header.size, header.mode, header.mtime = len(data), 0o600, int(time.time())
            archive.addfile(header, io.BytesIO(data))


def known_secrets(subject: Subject) -> list[str]:
    """Return the secrets that this host's own files and environment name."""
    environment = subject.environment
    found = [environment.get(name, "") for name in _SECRET_VARIABLES]
    for text in (subject.settings.proxy_uri, *map(environment.get, _PROXY_VARIABLES)):
        with suppress(ValueError):
            password = urlsplit(text or "").password or ""
            found += [password, unquote(password)]
    with suppress(AgentError, OSError):
        on_premises = subject.on_premises.on_premises
        found += [on_premises.secret_key or "", on_premises.access_key or ""] if on_premises else []
    with suppress(Exception):
        keys = subject.credentials.current()
        found += [keys.secret_key, keys.token or "", keys.access_key]
    return [secret for secret in found if secret]


def _texts(subject: Subject, examined: Sequence[Examined]) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each file, before secrets are taken out."""
    yield "doctor.json", json.dumps(document(examined), indent=2) + "\n"
    yield "versions.txt", _versions()
    named = ["--config-file", os.path.abspath(subject.config_file)] if subject.config_file else []
    for name, words in _COMMANDS.items():
        yield name, _printed([sys.executable, "-m", "agent", *words, *named])
    yield from _configuration(subject)
    yield from _unit(subject)
    yield from _records(subject)
    yield from _logs(subject)


def _versions() -> str:
    lines = [f"agent {__version__}", f"python {sys.version}", f"kernel {' '.join(platform.uname())}"]
    with suppress(OSError):
        lines.append(f"system {platform.freedesktop_os_release().get('PRETTY_NAME', '')}")
    with suppress(metadata.PackageNotFoundError):
        for name, bounds in requirements(metadata.requires(DISTRIBUTION) or []):
            with suppress(metadata.PackageNotFoundError):
                lines.append(f"{name} {metadata.version(name)} ({bounds})")
    return "\n".join(lines) + "\n"


def _configuration(subject: Subject) -> Iterator[tuple[str, str]]:
    named = subject.config_file or os.environ.get(ENVIRONMENT_VARIABLE)
    paths = configuration_paths(named)
    for path in (*paths, subject.settings.on_premises_config_file, places.MANIFEST):
        if os.path.isfile(path):
            yield f"configuration{os.path.abspath(path)}", tail(os.path.realpath(path), LARGEST_RECORD)


def _unit(subject: Subject) -> Iterator[tuple[str, str]]:
    directories = (places.UNITS, "/usr/lib/systemd/system", "/lib/systemd/system")
    for path in (f"{directory}/{places.SERVICE}" for directory in directories):
        there = subject.places.at(path)
        if os.path.isfile(there):
            yield f"systemd{path}", tail(os.path.realpath(there), LARGEST_RECORD)
        if os.path.isdir(f"{there}.d"):
            for name in sorted(os.listdir(f"{there}.d")):
                yield f"systemd{path}.d/{name}", tail(os.path.join(f"{there}.d", name), LARGEST_RECORD)
    for name, words in (
        ("show.txt", ("systemctl", "show", places.SERVICE)),
        ("journal.txt", ("journalctl", "--no-pager", f"--unit={places.SERVICE}", f"--lines={_JOURNAL_LINES}")),
    ):
        program = find(words[0])
        if program and subject.places.is_host and os.path.isdir("/run/systemd/system"):
            with suppress(FleetError):
                yield f"systemd/{name}", attempt([program, *words[1:]], limit=_PROGRAM_LIMIT).output


def _records(subject: Subject) -> Iterator[tuple[str, str]]:
    layout = subject.layout
    state = layout.state
    yield from _directory("records/agent-state", state, LARGEST_RECORD)
    for name in ("finished", "install", "retry-skip", "traffic"):
        yield from _directory(f"records/agent-state/{name}", os.path.join(state, name), LARGEST_RECORD)
    for key in _newest(os.path.join(state, "commands"), MOST_FILES):
        yield from _directory(f"records/agent-state/commands/{os.path.basename(key)}", key, LARGEST_RECORD)
    for directory in (layout.instructions, os.path.dirname(layout.tracking("any")), layout.kept):
        yield from _directory(f"records/{os.path.basename(directory)}", directory, LARGEST_RECORD)


def _logs(subject: Subject) -> Iterator[tuple[str, str]]:
    layout = subject.layout
    yield from _directory("logs", subject.settings.log_dir, LARGEST_LOG, most=10)
    yield from _directory("logs/deployment-logs", os.path.dirname(layout.deployments_log), LARGEST_LOG, most=3)
    found = [
        path
        for group in _newest(layout.root_dir, MOST_FILES)
        for deployment in _newest(group, MOST_FILES)
        for path in (layout.history(deployment), layout.script_log(deployment))
    ]
    there = sorted(filter(os.path.isfile, found), key=os.path.getmtime, reverse=True)
    for path in there[:MOST_DEPLOYMENT_FILES]:
        yield f"logs/{os.path.relpath(path, layout.root_dir)}", tail(path, LARGEST_RECORD)


def _directory(name: str, directory: str, largest: int, *, most: int = MOST_FILES) -> Iterator[tuple[str, str]]:
    """Yield the newest files of a directory, and none of those below it."""
    for path in _newest(directory, most):
        if os.path.isfile(path) and not os.path.islink(path):
            yield f"{name}/{os.path.basename(path)}", tail(path, largest)


def _newest(directory: str, most: int) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            found = [(entry.stat(follow_symlinks=False).st_mtime, entry.path) for entry in entries]
    except OSError:
        return []
    return [path for _, path in sorted(found, reverse=True)[:most]]


def tail(path: str, largest: int) -> str:
    """Return the last lines of a file, or why it cannot be read.

    Half a line at the beginning is left out: what would show that it is a secret may have been cut off. Links are not
    followed, as another account may own the directory of the logs.
    """
    try:
        descriptor = open_regular(path, os.O_RDONLY)
        with open(descriptor, "rb") as file:
            size = os.fstat(descriptor).st_size
            start = max(size - largest, 0)
            file.seek(start)
            data = file.read(largest)
    except OSError as error:
        return f"({path} cannot be read: {error.strerror})\n"
    if start:
        data = data.partition(b"\n")[2]
        return f"(the first {size - len(data)} bytes are left out)\n" + data.decode("utf-8", "backslashreplace")
    return data.decode("utf-8", "backslashreplace")


def _printed(command: Sequence[str]) -> str:
    try:
        return attempt(command, limit=_PROGRAM_LIMIT).output
    except FleetError as error:
        return f"({error})\n"
