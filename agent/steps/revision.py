"""Which revision an event uses, and its AppSpec file."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from agent.appspec.model import AppSpec
from agent.appspec.names import DEFAULT_NAMES, candidates
from agent.appspec.parse import FORMAT, parse
from agent.deployment.lifecycle import LifecycleEvent, RevisionChoice
from agent.deployment.spec import DeploymentSpecification
from agent.errors import AppSpecMissingError
from agent.store.layout import Layout
from agent.store.pointers import read_last_successful, read_most_recent
from agent.text.report import listed

_log = logging.getLogger(__name__)

# Names at the top of a revision, which may have any number.
_LOOKED_AT = 1000


class ChosenRevision(NamedTuple):
    """An unpacked revision, and why it was chosen."""

    archive: str
    choice: RevisionChoice

    @property
    def deployment(self) -> str:
        """The directory of the deployment that brought the revision."""
        return os.path.dirname(self.archive)


def choose_revision(event: LifecycleEvent, spec: DeploymentSpecification, layout: Layout) -> ChosenRevision | None:
    """The revision whose AppSpec and scripts an event uses; None where there is no earlier one.

    Once the deployment's own revision is unpacked it is used for every event, as the official agents do. An
    earlier revision that was deleted counts as none (as in 2.x; 1.8.1 fails every later deployment), with
    a warning. Raises OSError where a pointer cannot be read.
    """
    current = layout.archive(layout.deployment(spec.deployment_group_id, spec.deployment_id))
    rollback = spec.deployment_creator == "codeDeployRollback" and spec.deployment_type == "BLUE_GREEN"
    choice = event.blue_green_rollback if rollback else event.normal
    if choice is RevisionChoice.CURRENT or os.path.isdir(current):
        return ChosenRevision(current, RevisionChoice.CURRENT)
    read = read_last_successful if choice is RevisionChoice.LAST_SUCCESSFUL else read_most_recent
    deployment = read(layout, spec.deployment_group_id)
    if deployment is None:
        return None
    archive = layout.archive(deployment)
    if not os.path.isdir(archive):
        _log.warning("%s runs no scripts: the %s revision %s is gone", event.name, choice.value, archive)
        return None
    return ChosenRevision(archive, choice)


def load_appspec(archive: str, requested: str) -> AppSpec:
    """Read and check the AppSpec file of an unpacked revision.

    The requested name counts, then appspec.yaml, then appspec.yml; a file that lies outside the revision, through
    a symbolic link, is refused. Raises AppSpecMissingError, AppSpecError, SpecificationError for a name that
    leads out of the revision, OSError.
    """
    name = find_appspec(archive, requested)
    return _parsed(read_start(os.path.join(archive, name)), name)


@lru_cache(maxsize=4)
def _parsed(data: bytes, name: str) -> AppSpec:
    """Parse the same text only once: a local deployment asks for it at each of its eleven events."""
    return parse(data, filename=name)


def find_appspec(archive: str, requested: str, *, shown: str = "") -> str:
    """Return the name, relative to the revision, of its AppSpec file; raise as ``load_appspec`` does.

    ``shown`` is what a message calls the revision where its directory is a temporary one.
    """
    names = candidates(requested)
    for name in names:
        path = os.path.join(archive, name)
        if os.path.lexists(path):
            _check_inside(archive, path)
            return name
    if not os.path.lexists(archive):
        raise AppSpecMissingError(
            f"There is no unpacked revision {shown or archive}.",
            remedy="Run DownloadBundle first. If it has run, something has removed the revision since: deploy again.",
        )
    deeper = _one_directory_down(archive, names)
    if deeper:
        raise AppSpecMissingError(
            f"The AppSpec file of {shown or archive} is one directory too deep, in {deeper}.",
            remedy=f"Make the directory {os.path.dirname(deeper)} the top of the revision.",
        )
    raise AppSpecMissingError(
        f"There is no AppSpec file {listed(list(names))} at the top of {shown or archive}{_similar_names(archive)}.",
        remedy="Put an appspec.yml there, or name the file that the revision has.",
    )


def check_requested(found: str, requested: str) -> None:
    """Raise AppSpecMissingError where another AppSpec file was found than the deployment names."""
    if found != requested and requested not in DEFAULT_NAMES:
        raise AppSpecMissingError(
            f"The revision holds no AppSpec file {requested}, but {found}.",
            remedy=f"Add {requested} to the revision, or name {found} as the AppSpec file of the deployment"
            " (--appspec-filename of the local command).",
        )


def _one_directory_down(archive: str, names: Sequence[str]) -> str:
    """Return the first AppSpec file in a directory at the top of a revision; empty where there is none."""
    try:
        with os.scandir(archive) as found:
            directories = sorted(item.name for item in islice(found, _LOOKED_AT) if item.is_dir(follow_symlinks=False))
    except OSError:
        return ""
    deeper = (os.path.join(directory, name) for directory in directories for name in names)
    return next((path for path in deeper if os.path.isfile(os.path.join(archive, path))), "")


def _check_inside(archive: str, path: str) -> None:
    top, real = os.path.realpath(archive), os.path.realpath(path)
    if not real.startswith(top + "/"):
        raise AppSpecMissingError(
            f"The AppSpec file {path} leads out of the revision, to {real}.",
            remedy="Put the file itself into the revision.",
        )


def _similar_names(archive: str) -> str:
    try:
        with os.scandir(archive) as found:
            names = sorted(item.name for item in found if "appspec" in item.name.lower() and item.is_file())
    except OSError:
        return ", which cannot be read"
    return f"; the files there with a similar name are {', '.join(names[:3])}" if names else ""


def read_start(path: str, limit: int = FORMAT.max_size + 1) -> bytes:
    """Read the beginning of a regular file; one byte more than an AppSpec may have is enough for it to be refused.

    Raises AppSpecMissingError for anything but a regular file, OSError.
    """
    # Non-blocking, so that a fifo of this name cannot hold the agent up.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise AppSpecMissingError(f"{path} is not a regular file.", remedy="Put a plain file there.")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(descriptor)
