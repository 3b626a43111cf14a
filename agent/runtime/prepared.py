"""A revision that the local command fetches and unpacks before scripts of an earlier one run, to check it by then.

It is in ``agent-state`` until DownloadBundle takes it: what is in the deployment's own directory decides whose scripts
run.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from agent.deployment.spec import BundleType
from agent.errors import AgentError
from agent.filesystem.durable import sync_directory
from agent.store.layout import Layout


class Bundle(NamedTuple):
    """A bundle on this host: where it lies, its type, and the ETag that S3 gave, if it is from there."""

    path: str
    bundle_type: BundleType
    etag: str | None = None


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
        import shutil  # only a revision that waits needs it, here and below

        shutil.move(waiting, path)
        return self.bundle._replace(path=path) if self.bundle.path == waiting else self.bundle

    def take_archive(self, path: str) -> None:
        """Move the unpacked revision to ``path``, durably. Raises OSError."""
        import shutil

        shutil.move(self.archive, path)
        sync_directory(os.path.dirname(path))
