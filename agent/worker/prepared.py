"""The new revision, fetched and unpacked before scripts of an earlier one run, so that it can be checked by then.

It is in ``agent-state`` until DownloadBundle takes it: what is in the deployment's own directory decides whose scripts
run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from agent.deployment.spec import DeploymentSpecification
from agent.errors import AgentError
from agent.filesystem.durable import sync_directory
from agent.filesystem.trees import remove_tree
from agent.store.directories import make_deployment_directory, make_state_directory
from agent.store.layout import Layout
from agent.store.retention import remove_old_revisions
from agent.worker.bundle_command import Bundle, fetch, unpack_revision
from agent.worker.host import Host


class Prepared(NamedTuple):
    """A revision that waits for DownloadBundle in ``directory``; ``error`` is what a check has found against it."""

    directory: str
    bundle: Bundle
    error: AgentError | None = None

    @property
    def archive(self) -> str:
        """The directory that it is unpacked in."""
        return Layout.archive(self.directory)

    def take_bundle(self, path: str) -> Bundle:
        """Move the bundle to ``path``, unless it is a directory and used where it is. Raises OSError."""
        waiting = Layout.bundle(self.directory)
        if not os.path.lexists(waiting):
            return self.bundle
        shutil.move(waiting, path)
        return self.bundle._replace(path=path) if self.bundle.path == waiting else self.bundle

    def take_archive(self, path: str) -> None:
        """Move the unpacked revision to ``path``, durably. Raises OSError."""
        shutil.move(self.archive, path)
        sync_directory(os.path.dirname(path))


@contextmanager
def prepared(spec: DeploymentSpecification, host: Host) -> Iterator[Prepared]:
    """Fetch and unpack a revision for the time of a deployment, whose group is locked.

    Room is made first, as DownloadBundle does it. Raises BundleError, RootDirectoryError, OSError.
    """
    layout = host.layout
    make_deployment_directory(layout, spec.deployment_group_id, spec.deployment_id)
    remove_old_revisions(layout, spec.deployment_group_id, spec.deployment_id, keep=host.settings.max_revisions)
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
