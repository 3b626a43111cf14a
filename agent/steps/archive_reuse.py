"""RESTART deployments: a revision that is on this host already is copied instead of being downloaded again."""

from __future__ import annotations

import logging
import os
import re

from agent.deployment.spec import DeploymentSpecification, LocalRevision
from agent.errors import AgentError
from agent.filesystem.durable import remove_if_there, replace, temporary_name
from agent.filesystem.reasons import place_and_reason
from agent.runtime.host import Host
from agent.steps.revision import find_appspec
from agent.store.layout import Layout

DOWNLOADED = "downloaded"
REUSED = "archive-reuse"

_SOURCE_ID = re.compile(r"d-[A-Z0-9]+")
_LONGEST_ID = 64
_LONGEST_ETAG = 1024

_log = logging.getLogger(__name__)


def reuse_archive(spec: DeploymentSpecification, host: Host, deployment: str) -> bool:
    """Copy the revision of the deployment that the specification names, where that may be done.

    Returns whether it was; where not, the log says why, and a download writes over all of it. The conditions are those
    of the official agent 2.1.0. Modes are kept, owners and times are those of new files, and what the settings refuse
    in a bundle is refused here too. Raises RootDirectoryError.
    """
    if not spec.reuse_archive_from:
        return False
    reason = _reason_against(spec, host) or _copy(spec, host, deployment)
    if reason:
        _log.info("The revision of %s is not used again, but downloaded: %s", spec.reuse_archive_from, reason)
        return False
    _log.info("The revision of %s is used again", spec.reuse_archive_from)
    return True


def read_etag(deployment: str) -> str | None:
    """The ETag that S3 gave for a deployment's bundle; None where none is known."""
    try:
        with open(Layout.bundle_etag(deployment), "rb") as file:
            text = file.read(_LONGEST_ETAG).decode("ascii", "replace").strip()
    except OSError:
        return None
    return text if text and text.isprintable() else None


def _reason_against(spec: DeploymentSpecification, host: Host) -> str:
    source_id = spec.reuse_archive_from or ""
    if not host.settings.enable_archive_reuse:
        return "enable_archive_reuse is off."
    if not _SOURCE_ID.fullmatch(source_id) or len(source_id) > _LONGEST_ID:
        return "that is not the id of a deployment."
    if source_id == spec.deployment_id:
        return "that is this deployment itself."
    group = host.layout.group(spec.deployment_group_id)
    archive = host.layout.archive(host.layout.deployment(spec.deployment_group_id, source_id))
    try:
        if not os.path.isdir(archive) or not os.listdir(archive):
            return f"{archive} is not there (any more)."
        if not os.path.realpath(archive).startswith(f"{os.path.realpath(group)}/"):
            return f"{archive} leads out of its group's directory."
        find_appspec(archive, spec.appspec_filename)
    except AgentError as error:
        return error.message
    except OSError as error:
        return place_and_reason(error)
    return ""


def _copy(spec: DeploymentSpecification, host: Host, deployment: str) -> str:
    from agent.bundle.unpack import unpack
    from agent.runtime.options import unpack_options

    layout = host.layout
    source = layout.deployment(spec.deployment_group_id, spec.reuse_archive_from or "")
    try:
        # Before the revision, whose sync makes them durable too.
        _link(layout.bundle(source), layout.bundle(deployment))
        note_bundle(spec, layout, deployment, source=REUSED, etag=read_etag(source))
        unpack(
            layout.archive(source),
            "directory",
            layout.archive(deployment),
            options=unpack_options(host.settings)._replace(exact_modes=True),
            progress=lambda done, total: host.observer.progress(done, total, "bytes"),
        )
    except AgentError as error:
        return str(error)
    except OSError as error:
        return place_and_reason(error)
    return ""


def _link(source: str, target: str) -> None:
    """Give the bundle a second name, in place of an older one. Raises OSError."""
    if not os.path.lexists(source):
        return
    temporary = temporary_name(target)
    remove_if_there(temporary)
    os.link(source, temporary, follow_symlinks=False)
    os.rename(temporary, target)


def note_bundle(
    spec: DeploymentSpecification, layout: Layout, deployment: str, *, source: str, etag: str | None
) -> None:
    """Write down where a deployment's bundle came from, and its ETag or that there is none.

    It is on the disk when the revision that is unpacked next is. Raises OSError.
    """
    if etag:
        replace(layout.bundle_etag(deployment), etag.encode("ascii", "replace"), mode=layout.modes.state_file)
    else:
        remove_if_there(layout.bundle_etag(deployment))
    if not isinstance(spec.revision, LocalRevision):
        replace(layout.bundle_source(deployment), source.encode(), mode=layout.modes.state_file)
