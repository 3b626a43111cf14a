"""DownloadBundle: bring the revision to this host and unpack it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from agent.deployment.spec import BundleType, DeploymentSpecification, GitHubRevision, LocalRevision, S3Revision
from agent.errors import BundleError
from agent.filesystem.durable import remove_if_there, temporary_name
from agent.filesystem.reasons import place_and_reason
from agent.filesystem.trees import remove_tree
from agent.runtime.host import Host
from agent.runtime.prepared import Bundle, Prepared
from agent.steps.archive_reuse import DOWNLOADED, REUSED, note_bundle, reuse_archive
from agent.store.directories import make_deployment_directory, make_state_directory
from agent.store.layout import Layout
from agent.store.pointers import write_most_recent
from agent.store.retention import remove_old_revisions

if TYPE_CHECKING:
    from agent.bundle.fetch import FetchOptions

_log = logging.getLogger(__name__)


def download_bundle(spec: DeploymentSpecification, host: Host) -> str:
    """Make room, fetch the bundle or use a revision again, unpack it, and remember it as the group's most recent one.

    Returns the detail of the success message; the revision and all that belongs to it are on the disk then. Raises
    BundleError, OSError; an archive unpacked before then stands.
    """
    from agent.steps.preflight import check_downloaded  # a hook command is spared the import

    layout = host.layout
    deployment = make_deployment_directory(layout, spec.deployment_group_id, spec.deployment_id)
    _remove_old(spec, host)
    remove_unfinished(layout, spec.deployment_group_id)
    source = REUSED if reuse_archive(spec, host, deployment) else DOWNLOADED
    if source == DOWNLOADED:
        bundle = _fetched_ahead(spec, layout.bundle(deployment), host) or fetch(spec, layout.bundle(deployment), host)
        note_bundle(spec, layout, deployment, source=DOWNLOADED, etag=bundle.etag)
        _place(bundle, layout.archive(deployment), host)
    write_most_recent(layout, spec.deployment_group_id, deployment)
    check_downloaded(spec, host)
    return f"BundleSource={source}"


def _remove_old(spec: DeploymentSpecification, host: Host) -> None:
    """Remove old revisions by their number, then by the size of all."""
    settings, ids = host.settings, (spec.deployment_group_id, spec.deployment_id)
    remove_old_revisions(host.layout, *ids, keep=settings.max_revisions)
    if settings.deployment_root_max_size is not None:
        from agent.store.quota import keep_within  # few hosts ask for this

        keep_within(host.layout, *ids, limit=settings.deployment_root_max_size)


def remove_unfinished(layout: Layout, group_id: str) -> None:
    """Remove what killed DownloadBundles have left in a group; the caller holds its lock.

    What cannot be removed is logged and stays.
    """
    from agent.bundle.staging import remove_leftovers  # a hook command is spared the import

    group = layout.group(group_id)
    try:
        for name in os.listdir(group):
            deployment = os.path.join(group, name)
            remove_leftovers(layout.archive(deployment))
            remove_if_there(temporary_name(layout.bundle(deployment)))
    except OSError as error:
        _log.warning("What an interrupted DownloadBundle has left cannot be removed: %s", place_and_reason(error))


def _fetched_ahead(spec: DeploymentSpecification, path: str, host: Host) -> Bundle | None:
    """Return the bundle that was fetched before scripts ran or the host left its load balancers; None without one."""
    if host.prepared is not None:
        return host.prepared.take_bundle(path)
    if not host.settings.traffic_control:
        return None
    from agent.steps.bundle_cache import take_fetched

    found = take_fetched(spec, path, host)
    return Bundle(path, *found) if found else None


def fetch(spec: DeploymentSpecification, path: str, host: Host) -> Bundle:
    """Bring a revision's bundle to this host, as ``path``.

    A local archive is linked to, a local directory is used where it is. Raises BundleError, OSError.
    """
    revision = spec.revision
    if isinstance(revision, LocalRevision):
        if revision.bundle_type is not BundleType.DIRECTORY:
            remove_if_there(path)
            os.symlink(revision.location, path)
        return Bundle(revision.location, revision.bundle_type)
    if isinstance(revision, S3Revision):
        return Bundle(path, revision.bundle_type, _fetch_s3(revision, path, host))
    _fetch_github(revision, path, spec.github_access_token, host)
    # GitHub's tar archives are compressed, and what is said to be tar may be, by anything.
    is_zip = revision.bundle_type is BundleType.ZIP
    return Bundle(path, BundleType.ZIP if is_zip else BundleType.TAR)


def _place(bundle: Bundle, archive: str, host: Host) -> None:
    """Unpack a bundle, or take what was unpacked before scripts ran. Raises BundleError, OSError."""
    if host.prepared is not None:
        host.prepared.take_archive(archive)
    else:
        unpack_revision(bundle, archive, host)


def _fetch_s3(revision: S3Revision, path: str, host: Host) -> str:
    from agent.bundle.s3 import fetch_s3  # a bundle from elsewhere is spared the import

    return fetch_s3(revision, path, options=_options(host), progress=_progress(host), mode=host.layout.modes.state_file)


def _fetch_github(revision: GitHubRevision, path: str, token: str | None, host: Host) -> None:
    from agent.bundle.github import fetch_github

    fetch_github(
        revision,
        path,
        token=token,
        options=_options(host),
        progress=_progress(host),
        mode=host.layout.modes.state_file,
    )


def _progress(host: Host) -> Callable[[int, int], None]:
    return lambda done, total: host.observer.progress(done, total, "bytes")


def _options(host: Host) -> FetchOptions:
    if host.remote is None:
        raise BundleError("This host was given no way to S3 and GitHub.", remedy="Deploy from a file or directory.")
    return host.remote()


def unpack_revision(bundle: Bundle, archive: str, host: Host, *, durably: bool = True) -> None:
    """Unpack a bundle as the settings allow, telling the observer how far it is. Raises BundleError."""
    from agent.bundle.unpack import unpack  # a hook command is spared the import
    from agent.runtime.options import unpack_options

    unpack(
        bundle.path,
        bundle.bundle_type.value,
        archive,
        options=unpack_options(host.settings)._replace(durably=durably),
        progress=_progress(host),
    )


@contextmanager
def prepared(spec: DeploymentSpecification, host: Host) -> Iterator[Prepared]:
    """Fetch and unpack a revision for the time of a deployment, whose group is locked.

    Room is made first, as DownloadBundle does it. Raises BundleError, RootDirectoryError, OSError.
    """
    layout = host.layout
    make_deployment_directory(layout, spec.deployment_group_id, spec.deployment_id)
    _remove_old(spec, host)
    directory = os.path.join(layout.state, "prepared", spec.deployment_group_id)
    remove_tree(directory)  # of a deployment that was killed
    make_state_directory(layout, directory)
    try:
        bundle = fetch(spec, Layout.bundle(directory), host)
        unpack_revision(bundle, Layout.archive(directory), host)
        yield Prepared(directory, bundle)
    finally:
        with suppress(OSError):
            remove_tree(directory)
