"""What cannot succeed on this host, found before the first script that could change anything.

Between DownloadBundle and Install only BeforeInstall's scripts change the host. What they can still put right is a
warning: accounts, directories, files in the way. A script that knows where the revision is may even add to it, as
builds do; then nothing about the revision is certain.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence

from agent.appspec.model import AppSpec, Script, place_of
from agent.deployment.spec import DeploymentSpecification
from agent.errors import AgentError, InstallConflictError, InstallError, Problem, ProblemsError
from agent.filesystem.locks import LockTimeoutError
from agent.hooks.accounts import find_account
from agent.runtime.host import Host
from agent.steps.install_command import explain_conflict, install_request, installing, load_for_install
from agent.steps.revision import read_start
from agent.steps.revision_files import check_files
from agent.steps.revision_scripts import check_script
from agent.text.report import Report, shown

_EVENTS = ("DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService")
"""Events that every deployment of the service has from DownloadBundle on, in their order."""

# How a script finds the revision that it is in, itself or by what it reads in.
_KNOWS_ITS_PLACE = re.compile(
    rb"\$\{?0|BASH_SOURCE|__file__|__dir__|argv|program_name|deployment(?:-root|-archive|_id|_group_id)|codedeploy-agent"
    rb"|\0|^\s*(?:\.|source)\s",
    re.IGNORECASE | re.MULTILINE,
)
_READ_AT_MOST = 64 * 1024

_NAMED_AT_MOST = 5

_log = logging.getLogger(__name__)


class RevisionError(ProblemsError):
    """The revision cannot be deployed on this host as it is."""

    heading = "problems were found in the revision"


def check_downloaded(spec: DeploymentSpecification, host: Host) -> None:
    """Check the unpacked revision against this host, at the end of DownloadBundle; log what may still be put right.

    Raises AppSpecError, AppSpecMissingError, SpecificationError, InstallError, RevisionError, OSError.
    """
    archive = host.layout.archive(host.layout.deployment(spec.deployment_group_id, spec.deployment_id))
    appspec = load_for_install(spec, archive)
    first, later = _events(host)
    before = [script for event in first for script in appspec.hooks.get(event, ())]
    # Without them the local command goes on to Install at once, which checks the same before its first change.
    problems, warnings = _check_scripts(archive, appspec, first if host.events is not None else (*first, *later))
    conflicts = [] if host.events is not None and not before else _conflicts(spec, appspec, host, archive, before)
    if conflicts and before:
        problems += lasting_problems(archive, appspec, host, before)
        warnings += [f"Install fails unless a BeforeInstall script changes this. {conflict}" for conflict in conflicts]
        conflicts = []
    for warning in warnings[:_NAMED_AT_MOST]:
        _log.warning("%s", warning)
    if len(warnings) > _NAMED_AT_MOST:
        _log.warning("%d more such problems are not listed", len(warnings) - _NAMED_AT_MOST)
    if conflicts:
        error = InstallConflictError(conflicts, hints=[str(problem) for problem in problems])
        raise explain_conflict(error, appspec, archive)
    if problems:
        raise RevisionError(problems)
    if host.prepared is not None and host.prepared.error is not None:
        raise host.prepared.error


def check_ahead(spec: DeploymentSpecification, host: Host, archive: str) -> AgentError | None:
    """Check a revision before scripts of an earlier one run; return what none of these can put right.

    ``archive`` is where it is unpacked for the time being. Raises OSError.
    """
    try:
        _check_ahead(spec, host, archive)
    except AgentError as error:
        return error
    return None


def _check_ahead(spec: DeploymentSpecification, host: Host, archive: str) -> None:
    appspec = load_for_install(spec, archive)
    first, later = _events(host)
    problems = _check_scripts(archive, appspec, (*first, *later))[0]
    before = [script for event in first for script in appspec.hooks.get(event, ())]
    lasting = lasting_problems(archive, appspec, host, before)
    # Asked last, because it seldom has to be: what RETAIN keeps on the host can take a problem away.
    if lasting and _conflicts(spec, appspec, host, archive, before):
        problems += lasting
    if problems:
        raise RevisionError(problems)


def _events(host: Host) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the events that run scripts of the new revision, those before Install and those after it."""
    events = host.events or _EVENTS
    download, install = events.index("DownloadBundle"), events.index("Install")
    return events[download + 1 : install], events[install + 1 :]


def _conflicts(
    spec: DeploymentSpecification, appspec: AppSpec, host: Host, archive: str, before: Sequence[Script]
) -> list[str]:
    """Return what an Install would meet on the host as it is; an InstallError is raised if no script comes before."""
    from agent.install.installer import is_interrupted, plan_install
    from agent.runtime.options import install_options

    request, options = install_request(spec, appspec, host, archive=archive), install_options(host.settings)
    try:
        with installing(host):
            if is_interrupted(request, options=options):
                return []  # the host is between two revisions until Install has seen to that
            return list(plan_install(request, options=options, tolerant=True).conflicts)
    except LockTimeoutError as error:
        _log.warning("Whether Install can succeed was not checked: %s", error)
        return []
    except InstallError as error:
        if not before:
            raise
        return [str(error)]


def lasting_problems(archive: str, appspec: AppSpec, host: Host, before: Sequence[Script]) -> list[Problem]:
    """Return what is wrong between the AppSpec and the revision, whatever is on the host.

    ``before`` are the revision's scripts that run before Install.
    """
    if any(knows_its_place(archive, script) for script in before):
        return []
    report = Report(appspec.filename)
    check_files(archive, appspec, report, host.settings)
    return [problem for problem in report.problems() if problem.severity == "error"]


def _check_scripts(archive: str, appspec: AppSpec, events: Sequence[str]) -> tuple[list[Problem], list[str]]:
    """Return the scripts that cannot run, and the texts of those that an earlier script may still put right."""
    problems: list[Problem] = []
    warnings: list[str] = []
    top = os.path.realpath(archive)
    is_first, is_certain = True, True
    for event in events:
        for script in appspec.hooks.get(event, ()):
            report = Report(appspec.filename)
            # A later script's interpreter may be among what is installed.
            lack = "error" if is_first and event == "BeforeInstall" else "note"
            check_script(top, script, report, lack=lack)
            _check_account(script, report, is_first=is_first)
            found = [problem for problem in report.problems() if problem.severity == "error"]
            if is_certain:
                problems += found
            else:
                warnings += [f"The deployment fails unless a script changes this. {problem}" for problem in found]
            is_first = False
            is_certain = is_certain and not knows_its_place(archive, script)
    return problems, warnings


def _check_account(script: Script, report: Report, *, is_first: bool) -> None:
    if script.runas is None or not is_first:
        return
    try:
        find_account(script.runas)
    except LookupError:
        text = (
            f"The script {shown(script.location)} runs as {shown(script.runas)}, a user that this host does not have."
        )
        report.error(place_of(script, "runas"), text, "Create it, or correct the name.")


def knows_its_place(archive: str, script: Script) -> bool:
    """Return whether a script may change the revision that it is in."""
    try:
        return bool(
            _KNOWS_ITS_PLACE.search(read_start(os.path.join(archive, script.location.strip("/")), _READ_AT_MOST))
        )
    except (AgentError, OSError):
        return True
