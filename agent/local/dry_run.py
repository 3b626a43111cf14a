"""What a local deployment would do, found out without doing any of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from agent.appspec.model import AppSpec, Script
from agent.errors import InstallConflictError, Problem
from agent.filesystem.trees import remove_tree
from agent.local.request import LocalDeployment
from agent.runtime.host import Host
from agent.steps.bundle_command import fetch, unpack_revision
from agent.steps.execute import event_named
from agent.steps.hook_command import scripts_of
from agent.steps.install_command import explain_conflict, install_request, load_for_install
from agent.steps.preflight import knows_its_place, lasting_problems
from agent.steps.revision_check import check_revision
from agent.store.layout import Layout

if TYPE_CHECKING:
    from agent.install.plan import Change, Plan


class EventPreview(NamedTuple):
    """One event of the deployment; ``revision`` is empty for the new revision's scripts, else the directory of the
    earlier deployment whose scripts would run."""

    name: str
    scripts: tuple[Script, ...] = ()
    revision: str = ""


class Preview(NamedTuple):
    """Everything that a deployment would do, in the order of its events; ``changes`` are those of Install.

    ``conflicts`` would fail Install unless one of the scripts that ``changing`` names takes them away before.
    ``problems`` are what is wrong with the revision as far as it shows before a deployment; with an error among them
    the deployment would fail.
    """

    events: tuple[EventPreview, ...]
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]
    problems: tuple[Problem, ...]
    conflicts: tuple[str, ...] = ()
    changing: tuple[str, ...] = ()

    @property
    def promising(self) -> bool:
        """Whether nothing was found that would fail the deployment."""
        return not any(problem.severity == "error" for problem in self.problems)


def dry_run(deployment: LocalDeployment, host: Host) -> Preview:
    """Find out what a deployment would do.

    The bundle is fetched and unpacked into a private temporary directory, which is removed again; nothing else is
    written, neither on the host nor below the root directory, and no lock is taken. Raises whatever would fail the
    deployment before its first change: BundleError, AppSpecError, InstallConflictError with all conflicts, and so on.
    Conflicts that a script before Install may still take away are in the preview.
    """
    spec = deployment.spec
    host.layout.group(spec.deployment_group_id)
    with _unpacked(deployment, host) as archive:
        appspec = _as_from(archive, load_for_install(spec, archive), deployment, host)
        events = tuple(_events(deployment, appspec, host))
        earlier = events[: [event.name for event in events].index("Install")]
        own = [script for event in earlier if not event.revision for script in event.scripts]
        changing = tuple(script.location for event in earlier for script in event.scripts)
        plan = _plan(deployment, appspec, host, archive)
        if plan.conflicts and (not changing or lasting_problems(archive, appspec, host, own)):
            raise explain_conflict(InstallConflictError(plan.conflicts), appspec, archive)
        problems = check_revision(archive, appspec, appspec.filename, on_host=True, settings=host.settings)
        if any(knows_its_place(archive, script) for script in own):
            problems = [problem._replace(severity="warning") for problem in problems]
        # A person knows the revision's files by their names in it, not by where they were unpacked for a moment.
        changes = (change._replace(detail=change.detail.removeprefix(f"{archive}/")) for change in plan.changes)
        return Preview(events, tuple(changes), tuple(plan.warnings), tuple(problems), tuple(plan.conflicts), changing)


@contextmanager
def _unpacked(deployment: LocalDeployment, host: Host) -> Iterator[str]:
    import tempfile  # slow to import, and only needed here

    directory = tempfile.mkdtemp(prefix="codedeploy-dry-run-")
    try:
        bundle = fetch(deployment.spec, Layout.bundle(directory), host)
        unpack_revision(bundle, Layout.archive(directory), host, durably=False)
        yield Layout.archive(directory)
    finally:
        remove_tree(directory)


def _as_from(archive: str, appspec: AppSpec, deployment: LocalDeployment, host: Host) -> AppSpec:
    """The AppSpec with the sources that lead out of the revision told from here: they mean what lies there later."""
    spec = deployment.spec
    later = host.layout.archive(host.layout.deployment(spec.deployment_group_id, spec.deployment_id))
    files = []
    for mapping in appspec.files:
        source = os.path.normpath(mapping.source.strip("/") or ".")
        if source.split("/")[0] == "..":
            outside = os.path.normpath(os.path.join(later, source))
            mapping = mapping._replace(source=os.path.relpath(outside, os.path.realpath(archive)))
        files.append(mapping)
    return appspec._replace(files=tuple(files))


def _plan(deployment: LocalDeployment, appspec: AppSpec, host: Host, archive: str) -> Plan:
    from agent.install.installer import plan_install
    from agent.runtime.options import install_options

    request = install_request(deployment.spec, appspec, host, archive=archive)
    return plan_install(request, options=install_options(host.settings), tolerant=True)


def _events(deployment: LocalDeployment, appspec: AppSpec, host: Host) -> Iterator[EventPreview]:
    host = host._replace(custom_events=deployment.custom_events)
    downloaded = False
    for name in deployment.events:
        event = event_named(name, host)
        downloaded = downloaded or name == "DownloadBundle"
        if not event.is_hook:
            yield EventPreview(name)
        elif downloaded:
            yield EventPreview(name, tuple(appspec.hooks.get(name, ())))
        else:
            revision, scripts = scripts_of(event, deployment.spec, host)
            yield EventPreview(name, scripts, revision.deployment if revision is not None and scripts else "")
