"""``codedeploy-local``: a whole deployment on this machine."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent import logs
from agent.cli.interrupts import InterruptedBySignal, raise_on_signals
from agent.cli.local_options import make_parser
from agent.cli.output import Writer
from agent.cli.reports import PlainReport, TerminalReport
from agent.config.file import load
from agent.config.settings import Settings
from agent.errors import AgentError, UsageError
from agent.filesystem.reasons import explained_error
from agent.local.deploy import deploy
from agent.local.request import LocalDeployment, LocalRequest, check_request, moving_traffic
from agent.runtime.host import Host, layout_of
from agent.runtime.own_directories import check_own_directories

if TYPE_CHECKING:
    from agent.bundle.fetch import FetchOptions
    from agent.traffic.policy import Policy
    from agent.traffic.provider import BalancerAccess

PROGRAM = "codedeploy-local"

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None, *, prog: str = PROGRAM) -> int:
    """Run the command with these arguments (those of the process if None); give its exit status.

    0: the deployment succeeded, or a dry run found nothing against it, or help or version was asked for; 1: not;
    128 and the number of a signal that stopped it.
    """
    atexit.register(gc.freeze)  # spares the end of the process a search for cycles in all that was imported: 10 ms
    arguments = sys.argv[1:] if arguments is None else arguments
    out, err = Writer(1), Writer(2)
    logs.set_up(None, program_name=PROGRAM)
    try:
        options = make_parser(prog).parse_args(arguments)
    except UsageError as error:
        as_json = "--json" in arguments
        _refuse(PlainReport(err if as_json else out, err), out, error, as_json=as_json)
        return 1
    except SystemExit as end:  # help or version was printed
        sys.stdout.flush()
        return int(end.code or 0)
    report = _report(options, out, err)
    logs.set_up(None, program_name=PROGRAM, on_warning=report.notice)
    try:
        raise_on_signals()
        return _run(options, report, out)
    except InterruptedBySignal as stop:
        _refuse(report, out, _stopped(stop, report.event), as_json=options.json)
        return 128 + stop.number
    except AgentError as error:
        _refuse(report, out, error, as_json=options.json)
        return 1
    except (OSError, MemoryError) as error:
        _refuse(report, out, explained_error(error, prog), as_json=options.json)
        return 1


def _report(options: Namespace, out: Writer, err: Writer) -> PlainReport:
    if options.json:
        return PlainReport(err, err)
    if os.isatty(1):
        return TerminalReport(out, colour="NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb")
    return PlainReport(out, err)


def _refuse(report: PlainReport, out: Writer, error: AgentError, *, as_json: bool) -> None:
    _log.error("%s", error)
    report.refused(error)
    if as_json:
        from agent.cli.documents import error_document, render  # only a program asks for it

        out.line(render(error_document(error)))


def _stopped(stop: InterruptedBySignal, event: str) -> AgentError:
    if not event:
        return AgentError(f"Stopped by {stop}.")
    return AgentError(
        f"Stopped by {stop} during {event}: scripts that ran were ended, an unfinished Install was undone, and no later"
        " event ran."
    )


def _run(options: Namespace, report: PlainReport, out: Writer) -> int:
    directory = _current_directory()
    loaded = load(options.agent_configuration_file)
    for warning in loaded.warnings:
        report.notice(str(warning))
    deployment = check_request(_request(options, directory), directory=directory)
    settings = loaded.settings
    check_own_directories(settings)
    if options.traffic:
        deployment = moving_traffic(deployment, settings)
    host = Host(
        settings,
        layout_of(settings),
        directory,
        observer=report,
        remote=lambda: _remote(settings, deployment),
        traffic=(lambda policy: _access(settings, policy)) if options.traffic else None,
    )
    if options.dry_run:
        return _dry_run(options, deployment, host, report, out)
    _set_up_log(settings, report)
    return _deploy(options, deployment, host, report, out)


def _current_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError as error:
        raise UsageError(
            "The current directory was removed after this shell entered it.",
            remedy="Change to a directory that exists (cd), and start the command again.",
        ) from error


def _remote(settings: Settings, deployment: LocalDeployment) -> FetchOptions:
    from agent.runtime.remote import local_fetch_options  # a local bundle is spared the network

    return local_fetch_options(settings, deployment.spec.revision)


def _access(settings: Settings, policy: Policy) -> BalancerAccess:
    from agent.runtime.traffic_access import local_access

    return local_access(settings, policy)


def _request(options: Namespace, directory: str) -> LocalRequest:
    given = {
        "bundle_type": options.type,
        "file_exists_behavior": options.file_exists_behavior,
        "group": options.deployment_group,
        "group_name": options.deployment_group_name,
        "application_name": options.application_name,
        "events": options.events,
        "appspec_filename": options.appspec_filename,
        "github_token": options.github_token or os.environ.get("CODEDEPLOY_GITHUB_TOKEN"),
    }
    request = LocalRequest(directory if options.bundle_location is None else options.bundle_location)
    return request._replace(**{name: value for name, value in given.items() if value is not None})


def _set_up_log(settings: Settings, report: PlainReport) -> None:
    logs.set_up(
        os.path.join(settings.log_dir, "codedeploy-local.log"),
        program_name=PROGRAM,
        verbose=settings.verbose,
        log_format=settings.log_format,
        restricted=settings.restrict_log_dir_permissions,
        on_warning=report.notice,
    )


def _deploy(options: Namespace, deployment: LocalDeployment, host: Host, report: PlainReport, out: Writer) -> int:
    report.began(deployment.spec, host.layout)
    results = deploy(deployment, host, report)
    report.ended(deployment.spec, host.layout, results)
    if options.json:
        from agent.cli.documents import deployment_document, render

        out.line(render(deployment_document(deployment.spec, host.layout, results)))
    return 0 if results[-1].outcome.succeeded else 1


def _dry_run(options: Namespace, deployment: LocalDeployment, host: Host, report: PlainReport, out: Writer) -> int:
    from agent.cli import preview
    from agent.local.dry_run import dry_run

    report.event_started("Dry run")
    found = dry_run(deployment, host)
    report.end_line()
    if options.json:
        from agent.cli.documents import preview_document, render

        out.line(render(preview_document(deployment.spec, found)))
    else:
        for line in preview.lines(found):
            out.line(line)
    return 0 if found.promising else 1
