"""Checking whatever somebody points at: a directory with a revision, an archive of one, or an AppSpec file alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from agent.appspec.parse import check
from agent.errors import AppSpecMissingError, Problem, UsageError
from agent.steps.revision import check_requested, find_appspec, read_start
from agent.steps.revision_check import check_revision

# How far into a file its kind shows: the mark of a tar archive stands at byte 257.
_HEAD = 512

_TAR_MARK = slice(257, 262)
_COMPRESSED_TAR = (b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
_TYPES_BY_NAME = ((".tar", "tar"), (".tar.gz", "tgz"), (".tgz", "tgz"), (".zip", "zip"))


class Validation(NamedTuple):
    """What was found in an AppSpec file ``file``, whose bytes are ``data``; ``complete`` if its revision was there.

    Where it is not ``readable`` the only problem says why.
    """

    file: str
    data: bytes
    problems: tuple[Problem, ...]
    complete: bool
    readable: bool = True

    @property
    def valid(self) -> bool:
        """Whether there are no errors; warnings are allowed."""
        return not any(problem.severity == "error" for problem in self.problems)


class ValidationRequest(NamedTuple):
    """What to check for: ``requested`` is the AppSpec file's name in the revision.

    ``events`` are those that the deployment has beside the standard ones. ``on_host`` says that this machine is one of
    the deployment's hosts, so that what it lacks is worth a warning. ``with_revision`` checks what is around an
    AppSpec file that is named alone.
    """

    requested: str = "appspec.yml"
    events: tuple[str, ...] = ()
    on_host: bool = False
    with_revision: bool = False


def validate_path(path: str, desired: ValidationRequest) -> Validation:
    """Check the AppSpec file at a path and, where the path is a directory or an archive, the revision around it.

    The file is looked for as in a deployment. An archive is unpacked into a temporary directory. Raises AgentError and
    OSError for what cannot be read or holds no AppSpec file.
    """
    if not os.path.exists(path):
        raise UsageError(f"There is no file or directory {path}.", remedy="Give a revision's directory or archive.")
    if os.path.isdir(path):
        return _validate_revision(path, path, desired)
    bundle_type = _archive_type(path)
    if bundle_type is None and desired.with_revision:
        around, name = os.path.split(path)
        return _validate_revision(around or ".", around, desired._replace(requested=name))
    if bundle_type is None:
        data = read_start(path)
        return Validation(path, data, tuple(check(data, filename=path, events=desired.events)[1]), complete=False)
    with _unpacked(path, bundle_type) as directory:
        return _validate_revision(directory, path, desired)


def _validate_revision(directory: str, shown: str, desired: ValidationRequest) -> Validation:
    requested = desired.requested
    name = find_appspec(directory, requested, shown=os.path.abspath(shown))  # "." reads badly in a sentence
    file = os.path.normpath(os.path.join(shown, name))
    data = read_start(os.path.join(directory, name))
    appspec, problems = check(data, filename=file, events=desired.events)
    try:
        check_requested(name, requested)
    except AppSpecMissingError as error:
        problems.append(Problem(file, 0, 0, error.message, error.remedy))
    if appspec is not None:
        problems = sorted(
            [*problems, *check_revision(directory, appspec, file, on_host=desired.on_host)],
            key=lambda problem: (problem.line or float("inf"), problem.column),
        )
    return Validation(file, data, tuple(problems), complete=True)


def _archive_type(path: str) -> str | None:
    """Tell what kind of archive a file is, by what it holds and, failing that, by its name; None for another file."""
    head = read_start(path, _HEAD)
    if head[_TAR_MARK] == b"ustar" or head.startswith(_COMPRESSED_TAR):
        return "tar"
    if head.startswith(b"\x1f\x8b"):
        return "tgz"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    return next((kind for ending, kind in _TYPES_BY_NAME if path.lower().endswith(ending)), None)


@contextmanager
def _unpacked(path: str, bundle_type: str) -> Iterator[str]:
    import tempfile  # slow to import, like the next ones, and only archives need them

    from agent.bundle.unpack import UnpackOptions, unpack
    from agent.filesystem.trees import remove_tree

    directory = tempfile.mkdtemp(prefix="codedeploy-validate-")
    try:
        destination = os.path.join(directory, "revision")
        # The owners in the archive may be nobody here, and do not matter for what is checked.
        unpack(path, bundle_type, destination, options=UnpackOptions(ignore_ownership=True, durably=False))
        yield destination
    finally:
        remove_tree(directory)
