"""Install: from the unpacked revision to the files on this host."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.appspec.hooks import RESERVED_EVENTS, unknown_event
from agent.appspec.model import AppSpec
from agent.appspec.table import EVENTS, OVERWRITE
from agent.deployment.lifecycle import BY_NAME
from agent.deployment.spec import DeploymentSpecification
from agent.errors import AgentError, AppSpecError, InstallConflictError, Problem, SpecificationError
from agent.runtime.host import Host
from agent.steps.revision import check_requested, find_appspec, load_appspec, read_start
from agent.store.directories import make_instructions_directory
from agent.store.locks import install_lock
from agent.text.report import Report

if TYPE_CHECKING:
    from agent.install.installer import InstallRequest

_log = logging.getLogger(__name__)

_NAMED_AT_MOST = 5


def install_revision(spec: DeploymentSpecification, host: Host) -> str:
    """Install the deployment's revision; one Install runs at a time on this host.

    Everything that can be checked is checked before the first change. Raises AppSpecError, AppSpecMissingError,
    SpecificationError, InstallError, LockTimeoutError, OSError.
    """
    from agent.install.installer import install  # a hook command is spared the import
    from agent.runtime.options import install_options

    deployment = host.layout.deployment(spec.deployment_group_id, spec.deployment_id)
    appspec = load_for_install(spec, host.layout.archive(deployment))
    warning = _warn_of_events(appspec, spec, host)
    make_instructions_directory(host.layout)
    try:
        with installing(host):
            install(
                install_request(spec, appspec, host, archive=host.layout.archive(deployment)),
                options=install_options(host.settings),
                progress=lambda done, total: host.observer.progress(done, total, "files"),
            )
    except InstallConflictError as error:
        raise explain_conflict(error, appspec, host.layout.archive(deployment)) from error
    return warning


@contextmanager
def installing(host: Host) -> Iterator[None]:
    """Hold the lock that lets one Install run at a time on this host. Raises LockTimeoutError, RootDirectoryError."""
    lock = install_lock(host.layout)
    host.observer.expect(host.settings.lock_wait_seconds)
    try:
        lock.acquire(limit=host.settings.lock_wait_seconds, on_wait=host.observer.notice)
    finally:
        host.observer.expect(0)
    with lock:
        yield


def end_interrupted(group_id: str, host: Host) -> None:
    """Bring an interrupted Install of a group to its end, so that its pointers say what is installed.

    The caller holds the group's lock. An error is logged: the next Install says it again.
    """
    if not os.path.exists(host.layout.journal(group_id)):
        return
    from agent.install.installer import recover  # seldom needed
    from agent.runtime.options import install_options

    try:
        with installing(host):
            for text in recover(host.layout.root_dir, options=install_options(host.settings)):
                _log.warning("%s", text)
    except (AgentError, OSError) as error:
        _log.error("An interrupted Install could not be brought to its end: %s", error)


def load_for_install(spec: DeploymentSpecification, archive: str) -> AppSpec:
    """The AppSpec of an unpacked revision, checked against the deployment's events.

    A file that the deployment names is not replaced by another one, as with the official agents. Raises what
    ``load_appspec`` and ``check_events`` raise, and AppSpecMissingError.
    """
    check_requested(find_appspec(archive, spec.appspec_filename), spec.appspec_filename)
    appspec = load_appspec(archive, spec.appspec_filename)
    check_events(appspec, spec.all_possible_lifecycle_events)
    return appspec


def install_request(spec: DeploymentSpecification, appspec: AppSpec, host: Host, *, archive: str) -> InstallRequest:
    """What the installer is asked for this deployment; ``archive`` is where the revision is unpacked."""
    from agent.install.installer import InstallRequest

    return InstallRequest(
        group_id=spec.deployment_group_id,
        deployment_dir=host.layout.deployment(spec.deployment_group_id, spec.deployment_id),
        archive=archive,
        appspec=appspec,
        file_exists_behavior=spec.file_exists_behavior,
        cwd=host.working_directory,
        root_dir=host.layout.root_dir,
    )


def check_events(appspec: AppSpec, possible: tuple[str, ...] | None) -> None:
    """Compare the AppSpec's events with those that the deployment can have; None means that any will do.

    Raises AppSpecError with every event of the AppSpec that would never run, SpecificationError for a custom
    event of the deployment that the AppSpec does not know. Both rules are the official agents'.
    """
    if possible is None:
        return
    problems = [_unknown_event(event, appspec, possible) for event in appspec.hooks if event not in possible]
    if problems:
        raise AppSpecError(problems)
    missing = [event for event in possible if event not in BY_NAME and event not in appspec.hooks]
    if missing:
        raise SpecificationError(
            f"The lifecycle event {missing[0]} is neither a standard one nor in {appspec.filename}.",
            remedy=f"Standard events are {', '.join(BY_NAME)}; a custom one needs an entry under hooks.",
        )


def _unknown_event(event: str, appspec: AppSpec, possible: Sequence[str]) -> Problem:
    text, advice = unknown_event(event, possible)
    name = appspec.event_places[event]
    remedy = advice if isinstance(advice, str) else advice()
    return Problem(appspec.filename, name.line + 1, name.column + 1, text, remedy)


def _warn_of_events(appspec: AppSpec, spec: DeploymentSpecification, host: Host) -> str:
    """Log events whose scripts never run, where the deployment does not say which it has; return the warning."""
    if spec.all_possible_lifecycle_events is not None:
        return ""
    unknown = [event for event in appspec.hooks if event not in EVENTS and event not in RESERVED_EVENTS]
    if not unknown:
        return ""
    from agent.steps.hook_command import script_logs  # few AppSpecs have such an event

    warning = " ".join(str(_unknown_event(event, appspec, tuple(EVENTS))) for event in unknown[:_NAMED_AT_MOST])
    _log.warning("%s", warning)
    with script_logs(spec, host) as logs:
        for log in logs:
            log.header(f"Warning - {warning}")
    return f"Warning: {warning}"


def explain_conflict(error: InstallConflictError, appspec: AppSpec, archive: str) -> InstallConflictError:
    """Return the error with what in the AppSpec has probably led to the conflicts, as far as that can be read."""
    from agent.appspec.parse import check  # only where something is in the way, as the next one
    from agent.steps.revision_files import warn_of_file_as_directory

    try:
        data = read_start(os.path.join(archive, appspec.filename))
    except (AgentError, OSError):
        return error
    report = Report(appspec.filename)
    for mapping in appspec.files:
        if any(mapping.destination in conflict for conflict in error.conflicts):
            warn_of_file_as_directory(os.path.realpath(archive), mapping, report)
    ignored = check(data, filename=appspec.filename)[1]
    meant = [] if appspec.file_exists_behavior else [problem for problem in ignored if problem.remedy == OVERWRITE]
    hints = [str(problem) for problem in (*report.problems(), *meant)]
    return InstallConflictError(error.conflicts, remedy=error.remedy, hints=hints)
