"""A lifecycle event that runs scripts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from agent.appspec.model import Script
from agent.deployment.lifecycle import LifecycleEvent, RevisionChoice
from agent.deployment.spec import DeploymentSpecification, GitHubRevision, S3Revision
from agent.errors import ScriptError
from agent.runtime.host import Host
from agent.steps.archive_reuse import read_etag
from agent.steps.revision import ChosenRevision, choose_revision, load_appspec
from agent.store.directories import make_deployment_directory
from agent.store.script_logs import DeploymentsLog, ScriptLog
from agent.store.skips import SKIPPABLE, end_skip, skip_of

_log = logging.getLogger(__name__)


def scripts_of(
    event: LifecycleEvent, spec: DeploymentSpecification, host: Host
) -> tuple[ChosenRevision | None, tuple[Script, ...]]:
    """The revision that an event uses and the scripts that it has there for the event.

    Raises what ``choose_revision`` and ``load_appspec`` raise.
    """
    revision = choose_revision(event, spec, host.layout)
    if revision is None:
        return None, ()
    appspec = load_appspec(revision.archive, spec.appspec_filename)
    return revision, tuple(appspec.hooks.get(event.name, ()))


def run_hooks(event: LifecycleEvent, spec: DeploymentSpecification, host: Host) -> str:
    """Run the scripts of one event in their order; the first failure ends it.

    Returns the detail of the success message. Raises ScriptError, and what ``scripts_of`` raises.
    """
    make_deployment_directory(host.layout, spec.deployment_group_id, spec.deployment_id)
    if is_to_be_skipped(event, spec, host):
        return _skip(event, spec, host)
    revision, scripts = scripts_of(event, spec, host)
    if revision is not None and scripts:
        try:
            _run(event, scripts, revision, spec, host)
        except ScriptError as error:
            if revision.choice is RevisionChoice.CURRENT:
                raise
            raise _of_earlier_revision(error, event, revision) from error
    return ""


def is_to_be_skipped(event: LifecycleEvent, spec: DeploymentSpecification, host: Host) -> bool:
    """Return whether a person has asked to skip an event once, and its scripts are those of an earlier revision.

    Raises OSError, SpecificationError.
    """
    if event.name not in SKIPPABLE or skip_of(host.layout, spec.deployment_group_id, event.name) is None:
        return False
    return not os.path.isdir(host.layout.archive(host.layout.deployment(spec.deployment_group_id, spec.deployment_id)))


def _skip(event: LifecycleEvent, spec: DeploymentSpecification, host: Host) -> str:
    """Use up the skip of an event, before anything relies on it, and say so where operators look."""
    found = skip_of(host.layout, spec.deployment_group_id, event.name)
    end_skip(host.layout, spec.deployment_group_id, event.name)
    by = f" by {found.by}" if found and found.by else ""
    text = f"{event.name} of the earlier revision was skipped once, as retry-skip{by} asked; none of its scripts ran"
    _log.warning("%s", text)
    with script_logs(spec, host) as logs:
        for log in logs:
            log.header(f"Warning - {text}")
    return text


def _run(
    event: LifecycleEvent,
    scripts: Sequence[Script],
    revision: ChosenRevision,
    spec: DeploymentSpecification,
    host: Host,
) -> None:
    from agent.hooks.runner import EventContext, run_event  # a deployment without scripts is spared the import
    from agent.runtime.options import hook_options

    deployment = host.layout.deployment(spec.deployment_group_id, spec.deployment_id)
    context = EventContext(
        event=event.name,
        archive=revision.archive,
        variables=variables(event.name, spec, seen_etag=read_etag(deployment)),
        cwd=host.working_directory,
    )
    host.observer.expect(sum(script.timeout for script in scripts))
    with script_logs(spec, host) as logs:
        run_event(
            scripts,
            context,
            sinks=[*logs, host.observer],
            options=hook_options(host.settings)._replace(core_limit=host.core_limit),
            on_started=host.observer.script_started,
        )


@contextmanager
def script_logs(spec: DeploymentSpecification, host: Host) -> Iterator[list[ScriptLog | DeploymentsLog]]:
    """Open the logs of what scripts print: the new deployment's, also where an earlier revision's script runs.

    That is where its operator looks.
    """
    deployment = host.layout.deployment(spec.deployment_group_id, spec.deployment_id)
    logs: list[ScriptLog | DeploymentsLog] = [ScriptLog(host.layout, deployment)]
    if host.settings.enable_deployments_log:
        logs.append(DeploymentsLog(host.layout, spec.deployment_id))
    try:
        yield logs
    finally:
        for log in logs:
            with suppress(OSError):  # what a script has done does not depend on its logs
                log.close()


def variables(event: str, spec: DeploymentSpecification, *, seen_etag: str | None = None) -> dict[str, str]:
    """The deployment variables that scripts see; they describe the new deployment, whosever script runs.

    ``seen_etag`` is that of the download, for a specification that names none (as 2.x has it).
    """
    values = {
        "LIFECYCLE_EVENT": event,
        "DEPLOYMENT_ID": spec.deployment_id,
        "APPLICATION_NAME": spec.application_name,
        "DEPLOYMENT_GROUP_NAME": spec.deployment_group_name,
        "DEPLOYMENT_GROUP_ID": spec.deployment_group_id,
    }
    revision = spec.revision
    if isinstance(revision, S3Revision):
        values |= {"BUNDLE_BUCKET": revision.bucket, "BUNDLE_KEY": revision.key}
        values |= {"BUNDLE_VERSION": revision.version} if revision.version is not None else {}
        etag = seen_etag if revision.etag is None else revision.etag
        values |= {"BUNDLE_ETAG": etag} if etag is not None else {}
    elif isinstance(revision, GitHubRevision):
        values["BUNDLE_COMMIT"] = revision.commit_id
    return values


def _of_earlier_revision(error: ScriptError, event: LifecycleEvent, revision: ChosenRevision) -> ScriptError:
    """The same failure, saying whose script it was: operators look for it in the revision that they deploy."""
    text = (
        f"{error.message} This is the script of the {revision.choice.value} revision"
        f" ({os.path.basename(revision.deployment)}), not of the one being deployed: {event.name} runs before that is"
        f" unpacked. To get past it, correct the script in {revision.archive}, skip it once (codedeploy-agent"
        f" deployments retry-skip), or deploy once without {event.name}"
        f" (in the service: ignore ApplicationStop failures; codedeploy-local: name the other events with --events)."
    )
    explained = ScriptError(text, code=error.code, script_name=error.script_name, log=error.log)
    explained.remedy = error.remedy
    return explained
