"""DownloadBundle: bring the revision to this host and unpack it."""

from __future__ import annotations

import os

from agent.deployment.spec import BundleType, DeploymentSpecification, LocalRevision
from agent.errors import BundleError
from agent.filesystem.durable import remove_if_there
from agent.store.folders import make_deployment_folder
from agent.store.pointers import write_most_recent
from agent.store.retention import remove_old_revisions
from agent.worker.host import Host


def download_bundle(spec: DeploymentSpecification, host: Host) -> str:
    """Make room, fetch the bundle, unpack it and remember it as the group's most recent one.

    Gives the detail of the success message. Raises BundleError, OSError; an archive unpacked before then stands.
    """
    layout, settings = host.layout, host.settings
    deployment = make_deployment_folder(layout, spec.deployment_group_id, spec.deployment_id)
    remove_old_revisions(layout, spec.deployment_group_id, spec.deployment_id, keep=settings.max_revisions)
    source, bundle_type = fetch(spec, layout.bundle(deployment))
    unpack_revision(source, bundle_type, layout.archive(deployment), host)
    write_most_recent(layout, spec.deployment_group_id, deployment)
    return "BundleSource=downloaded"


def fetch(spec: DeploymentSpecification, bundle: str) -> tuple[str, BundleType]:
    """Bring a revision's bundle to this host; give where it lies and its type.

    A local archive is linked to as ``bundle``, a local folder is used where it is. Raises BundleError, OSError.
    """
    revision = spec.revision
    if not isinstance(revision, LocalRevision):
        raise BundleError(
            "Revisions in S3 and on GitHub cannot be fetched by this version yet.",
            remedy="Fetch the bundle yourself and deploy it with codedeploy-local from a file or folder.",
        )
    if revision.bundle_type is not BundleType.DIRECTORY:
        remove_if_there(bundle)
        os.symlink(revision.location, bundle)
    return revision.location, revision.bundle_type


def unpack_revision(source: str, bundle_type: BundleType, archive: str, host: Host) -> None:
    """Unpack a bundle as the settings allow, telling the observer how far it is. Raises BundleError."""
    from agent.bundle.unpack import unpack  # a hook command is spared the import
    from agent.worker.options import unpack_options

    unpack(
        source,
        bundle_type.value,
        archive,
        options=unpack_options(host.settings),
        progress=lambda done, total: host.observer.progress(done, total, "bytes"),
    )
