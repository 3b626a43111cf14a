"""What is wrong with a revision that its AppSpec alone does not show, found before anything is deployed."""

from __future__ import annotations

from collections.abc import Callable

from agent.appspec.model import AppSpec, place_of
from agent.config.settings import Settings
from agent.errors import Problem
from agent.install.owners import OwnerLookup
from agent.steps.revision_files import check_files
from agent.steps.revision_scripts import check_scripts
from agent.text.report import Placed, Report


def check_revision(
    archive: str, appspec: AppSpec, filename: str, *, on_host: bool, settings: Settings | None = None
) -> list[Problem]:
    """Look for every mistake between an AppSpec and the unpacked revision in the directory ``archive``.

    Errors are what would fail on any host; warnings what fails only under some setting or on this host, or has no
    effect; notes what this machine lacks, unless it is ``on_host``, a host of the deployment: then they are warnings.
    ``filename`` is the name to show; ``settings`` are those of the hosts, None where they are unknown. Nothing is
    changed, no script is run, and no link is followed out of the revision to read what is there. Raises nothing: what
    cannot be read is a problem too.
    """
    report = Report(filename)
    check_files(archive, appspec, report, settings)
    check_scripts(archive, appspec, report, on_host=on_host)
    _note_accounts(appspec, report.warning if on_host else report.note)
    return report.problems()


def _note_accounts(appspec: AppSpec, note: Callable[[Placed, str, str], None]) -> None:
    """Name the accounts that this host does not have; the hosts of the deployment may have them."""
    owners = OwnerLookup()
    seen: set[tuple[str, str]] = set()
    desired: list[tuple[Placed, str, str]] = []
    for permission in appspec.permissions:
        desired.append((place_of(permission, "owner"), "user", permission.owner or ""))
        desired.append((place_of(permission, "group"), "group", permission.group or ""))
        desired += [(entry.place or place_of(permission, "acls"), entry.tag, entry.name) for entry in permission.acls]
    for scripts in appspec.hooks.values():
        desired += [(place_of(script, "runas"), "user", script.runas or "") for script in scripts]
    for place, kind, name in desired:
        if not name or (kind, name) in seen:
            continue
        seen.add((kind, name))
        if (owners.user(name) if kind == "user" else owners.group(name)) is None:
            note(
                place,
                f"There is no {kind} {name!r} on this host.",
                "A deployment needs it on its hosts; create it there, in a BeforeInstall script at the latest.",
            )
