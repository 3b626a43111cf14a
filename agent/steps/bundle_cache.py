"""A bundle that is fetched before its deployment takes the host out of service, so that it is out for less time.

It lies below ``agent-state`` and not in the deployment's directory, whose content decides which revision's scripts run.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable

from agent.deployment.spec import BundleType, DeploymentSpecification, LocalRevision
from agent.filesystem.durable import sync_file_systems, write_durably
from agent.filesystem.trees import remove_tree
from agent.runtime.host import Host
from agent.store.directories import make_state_directory
from agent.store.layout import Layout

_log = logging.getLogger(__name__)

Fetched = tuple[BundleType, str | None]
"""The type and, from S3, the ETag of a bundle."""


def fetch_ahead(spec: DeploymentSpecification, host: Host, fetch: Callable[[str], Fetched]) -> None:
    """Fetch a deployment's bundle into the cache, in which it is then alone; nothing for one that lies on this host.

    ``fetch`` brings the bundle to a path. Raises BundleError, OSError.
    """
    _forget_others(host.layout, spec.deployment_id)
    if isinstance(spec.revision, LocalRevision) or spec.reuse_archive_from or host.prepared is not None:
        return
    directory = _directory(host.layout, spec.deployment_id)
    if os.path.exists(os.path.join(directory, "facts")):
        return
    make_state_directory(host.layout, directory)
    begin = time.monotonic()
    bundle_type, etag = fetch(os.path.join(directory, "bundle"))
    facts = {"type": bundle_type.value, "etag": etag}
    # DownloadBundle, another command, believes in the bundle where there are facts.
    sync_file_systems([directory])
    write_durably(os.path.join(directory, "facts"), json.dumps(facts).encode(), mode=0o600)
    _log.info("The bundle was fetched in %.1f s, while this host is in service", time.monotonic() - begin)


def take_fetched(spec: DeploymentSpecification, path: str, host: Host) -> Fetched | None:
    """Move a bundle that was fetched ahead to ``path``; its type and ETag, None where there is none. Raises OSError."""
    directory = _directory(host.layout, spec.deployment_id)
    try:
        with open(os.path.join(directory, "facts"), "rb") as file:
            facts = json.loads(file.read())
        os.rename(os.path.join(directory, "bundle"), path)
    except (FileNotFoundError, ValueError):
        return None
    remove_tree(directory)
    return BundleType(facts["type"]), facts["etag"]


def _cache(layout: Layout) -> str:
    return os.path.join(layout.traffic, "bundles")


def _directory(layout: Layout, deployment_id: str) -> str:
    return os.path.join(_cache(layout), deployment_id)


def _forget_others(layout: Layout, deployment_id: str) -> None:
    try:
        names = os.listdir(_cache(layout))
    except FileNotFoundError:
        return
    for name in names:
        if name != deployment_id:
            remove_tree(os.path.join(_cache(layout), name))
