"""Install: from the unpacked revision to the files on this host."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from agent.appspec.model import AppSpec
from agent.appspec.names import DEFAULT_NAMES
from agent.appspec.suggest import did_you_mean
from agent.deployment.lifecycle import BY_NAME
from agent.deployment.spec import DeploymentSpecification
from agent.errors import AppSpecError, Problem, SpecificationError
from agent.store.folders import make_instructions_folder
from agent.store.locks import install_lock
from agent.worker.host import Host
from agent.worker.revision import load_appspec

if TYPE_CHECKING:
    from agent.install.installer import InstallRequest

_log = logging.getLogger(__name__)


def install_revision(spec: DeploymentSpecification, host: Host) -> str:
    """Install the deployment's revision; one Install runs at a time on this host.

    Everything that can be checked is checked before the first change. Raises AppSpecError, AppSpecMissingError,
    SpecificationError, InstallError, LockTimeoutError, OSError.
    """
    from agent.install.installer import install  # a hook command is spared the import
    from agent.worker.options import install_options

    deployment = host.layout.deployment(spec.deployment_group_id, spec.deployment_id)
    appspec = load_for_install(spec, host.layout.archive(deployment))
    make_instructions_folder(host.layout)
    lock = install_lock(host.layout)
    lock.acquire(limit=host.settings.lock_wait_seconds, on_wait=host.observer.notice)
    with lock:
        install(
            install_request(spec, appspec, host, archive=host.layout.archive(deployment)),
            options=install_options(host.settings),
            progress=lambda done, total: host.observer.progress(done, total, "files"),
        )
    return ""


def load_for_install(spec: DeploymentSpecification, archive: str) -> AppSpec:
    """The AppSpec of an unpacked revision, checked against the deployment's events.

    Warns where the file that the deployment names is missing and another one counts. Raises what ``load_appspec``
    and ``check_events`` raise.
    """
    appspec = load_appspec(archive, spec.appspec_filename)
    if appspec.filename != spec.appspec_filename and spec.appspec_filename not in DEFAULT_NAMES:
        _log.warning("The revision holds no %s; its %s is used", spec.appspec_filename, appspec.filename)
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
        cwd=host.working_folder,
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


def _unknown_event(event: str, appspec: AppSpec, possible: tuple[str, ...]) -> Problem:
    advice = did_you_mean(event, possible) or f"Known events: {', '.join(possible)}."
    name = appspec.event_places[event]
    text = f"unknown lifecycle event {event}."
    return Problem(appspec.filename, name.line + 1, name.column + 1, text, advice)
