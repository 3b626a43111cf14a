"""The files and permissions of a revision, played through for a host on which nothing is yet.

The rules are those of the Install itself, for its own code is asked: what is refused here would be refused there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from agent.appspec.model import AppSpec, FileMapping, place_of
from agent.config.settings import Settings
from agent.install.desired import Desired, expand
from agent.install.host import DIRECTORY, FILE, HostFiles, View
from agent.install.owners import OwnerLookup
from agent.install.permissions import resolve
from agent.runtime.options import install_options
from agent.steps.revision_scripts import inside, similar
from agent.store.layout import INSTRUCTIONS, STATE
from agent.text.report import Remedy, Report, shown

_WILDCARDS = "*?["
_NO_PATTERNS = "Patterns are not expanded in sources; give the directory, or each file."


def check_files(archive: str, appspec: AppSpec, report: Report, known: Settings | None) -> None:
    """Check that the sources are there, that no two want the same place, and what the permissions come to.

    ``known`` are the settings of the hosts; None where they are unknown, and the defaults are likely.
    """
    settings = known or Settings()
    own = _own_directories(settings)
    top = os.path.realpath(archive)
    desired = Desired(
        top,
        View(_EmptyHost()),
        cwd="/",
        options=install_options(settings),
        filename=appspec.filename,
        reserved=own if known else (),
    )
    for mapping in appspec.files:
        _check_destination(mapping, report, () if known else own)
        if _check_source(top, mapping, report):
            warn_of_file_as_directory(top, mapping, report)
            _play_through(top, mapping, desired, report, filename=appspec.filename)
    installed = {path: entry.kind for path, entry in desired.entries.items()}
    _check_permissions(appspec, installed, report, settings)


class _EmptyHost(HostFiles):
    """A host with a root directory and nothing in it."""

    def kind(self, path: str) -> str | None:
        return DIRECTORY if path == "/" else None

    def children(self, directory: str) -> dict[str, str]:
        return {}


class _AnyOwner(OwnerLookup):
    """Knows every name: whether the hosts of the deployment know it cannot be told here."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[str, int] = {}

    def user(self, name: str) -> int:
        return self._numbers.setdefault(f"user {name}", len(self._numbers))

    def group(self, name: str) -> int:
        return self._numbers.setdefault(f"group {name}", len(self._numbers))


def _own_directories(settings: Settings) -> list[str]:
    names = (STATE, INSTRUCTIONS, settings.ongoing_deployment_tracking)
    return [os.path.join(settings.root_dir, name) for name in names]


def _check_destination(mapping: FileMapping, report: Report, own_directories: Sequence[str]) -> None:
    destination = mapping.destination
    own = next((own for own in own_directories if f"{expand(destination, '/')}/".startswith(f"{own}/")), None)
    if own is not None:
        text = f"The destination {shown(destination)} is in {own}, where the agent keeps its own files."
        report.warning(
            place_of(mapping, "destination"), text, "An agent with this root_dir refuses it; choose another."
        )
    if destination.startswith("~"):
        text, remedy = "is relative to a home directory", "It is that of the user whom the agent runs as."
    elif destination and not destination.startswith("/"):
        text, remedy = "is relative", "It is taken from the agent's working directory; begin it with '/'."
    else:
        return
    report.warning(place_of(mapping, "destination"), f"The destination {shown(destination)} {text}.", remedy)


def _check_source(top: str, mapping: FileMapping, report: Report) -> bool:
    """Tell whether a source is there and in the revision; note why not."""
    source = mapping.source.strip("/")
    path = os.path.join(top, source)
    if not inside(top, os.path.normpath(path)):
        remedy = "Put it into the revision; the setting reject_path_traversal_in_bundle refuses such a source."
        _warn(report, mapping, f"The source {shown(mapping.source)} leads out of the revision.", remedy)
        return False
    if not os.path.lexists(path):
        pattern = any(sign in source for sign in _WILDCARDS)
        advice: Remedy = _NO_PATTERNS if pattern else lambda: similar(top, source)
        _fail(report, mapping, f"The source {shown(mapping.source)} is not in the revision.", advice)
        return False
    if os.path.isdir(path) and not inside(top, os.path.realpath(path)):
        remedy = "What is there on the host would be installed; put it into the revision."
        _warn(report, mapping, f"The source {shown(mapping.source)} is a link out of the revision.", remedy)
        return False
    return True


def warn_of_file_as_directory(top: str, mapping: FileMapping, report: Report) -> None:
    """Point out a destination that ends in the source's own file name."""
    destination = mapping.destination.rstrip("/")
    above, name = os.path.split(destination)
    source = os.path.join(top, mapping.source.strip("/"))
    if not above or name != os.path.basename(source) or os.path.isdir(source):
        return
    report.warning(
        place_of(mapping, "destination"),
        f"A destination is the directory that a file goes into: this one makes {destination}/{name}.",
        f"Write {above} if {destination} is meant.",
    )


def _play_through(top: str, mapping: FileMapping, desired: Desired, report: Report, *, filename: str) -> None:
    before = len(desired.problems), len(desired.warnings)
    try:
        desired.add([mapping])
    except OSError as error:
        place = os.path.relpath(error.filename, top) if isinstance(error.filename, str) else mapping.source
        _fail(report, mapping, f"{shown(place)} cannot be installed: {error.strerror}.", "")
    for text in desired.problems[before[0] :]:
        _add_placed(report, text, filename, "error", top=top)
    for text in desired.warnings[before[1] :]:
        _add_placed(report, text, filename, "warning", top=top)


def _check_permissions(appspec: AppSpec, installed: dict[str, str], report: Report, settings: Settings) -> None:
    result = resolve(
        appspec.permissions,
        installed,
        expand=lambda path: expand(path, "/"),
        # Whatever else a host has at an object's path, it is none of this deployment's.
        kind_on_host=lambda path: DIRECTORY if path == "/" else FILE,
        target_of=lambda path: path,
        owners=_AnyOwner(),
        filename=report.filename,
        options=install_options(settings),
    )
    for severity, texts in (("error", result.problems), ("warning", result.warnings)):
        for text in texts:
            _add_placed(report, text, report.filename, severity)


def _add_placed(report: Report, text: str, filename: str, severity: str, *, top: str = "") -> None:
    """Note what the Install says, with the place that its text begins with and paths as they are below ``top``."""
    place, colon, sentence = text.removeprefix(f"{filename}:").partition(": ")
    line, _, column = place.partition(":")
    known = bool(colon) and line.isdigit() and column.isdigit()
    # A path at the beginning stays as it is.
    capital = known and sentence.startswith(("the ", "this ", "nothing ", "default "))
    message = f"{sentence[0].upper()}{sentence[1:]}" if capital else sentence if known else text
    message = message.replace(f"{top}/", "") if top else message
    report.add(int(line) if known else 0, int(column) if known else 0, message, "", severity=severity)


def _fail(report: Report, mapping: FileMapping, message: str, remedy: Remedy) -> None:
    report.error(place_of(mapping, "source"), message, remedy)


def _warn(report: Report, mapping: FileMapping, message: str, remedy: Remedy) -> None:
    report.warning(place_of(mapping, "source"), message, remedy)
